/* cuda_host_test.c - the CUDA executor's host half over a driver without a GPU (fake_driver.h): what it says when a GPU
 * cannot be used, memory that runs out, every call of the driver that fails, and contexts that are lost. */
#include "core_fixture.h"
#include "cuda.h"
#include "error.h"
#include "fake_driver.h"

#define CYCLES 50

static rz_engine_options cuda_options(void) {
    fake_gpu_reset();
    rz_test_driver_set(&fake_driver);
    return (rz_engine_options){.size = sizeof(rz_engine_options), .backend = RZ_BACKEND_CUDA, .n_devices = 1};
}

static bool says(const char *text) {
    char message[512] = "";
    const uint32_t n = rz_error_read((uint8_t *)message, sizeof message - 1);
    message[n] = 0;
    const bool found = strstr(message, text) != NULL;
    if (!found) fprintf(stderr, "got \"%s\", expected \"%s\"\n", message, text);
    return found;
}

/* What doctor prints of the GPU. */
static bool info_says(const char *text) {
    static uint8_t json[4096];
    const int32_t n = rz_library_info(json, sizeof json - 1);
    json[n] = 0;
    const bool found = strstr((const char *)json, text) != NULL;
    if (!found) fprintf(stderr, "got %s, expected %s\n", (const char *)json, text);
    return found;
}

static void test_reasons(void) {
    rz_engine_options o = cuda_options();
    CHECK(info_says("\"cuda\",\"usable\":true"));
    CHECK(info_says("\"device\":\"fake GPU\""));
    fake_gpu.version = 12080;
    CHECK(rz_engine_open(&o) == -RZ_E_DEVICE && says("for CUDA 12.8, this build needs 13.0: install driver 580"));
    CHECK(info_says("\"usable\":false") && info_says("install driver 580"));
    o = cuda_options();
    fake_gpu.n_devices = 0;
    CHECK(rz_engine_open(&o) == -RZ_E_DEVICE && says("sees no GPU"));
    CHECK(info_says("sees no GPU"));
    o = cuda_options();
    fake_gpu.init_result = 999;
    CHECK(rz_engine_open(&o) == -RZ_E_DEVICE && says("does not start: CUDA_ERROR_FAKE (999): made up"));
    CHECK(info_says("(999)"));
    o = cuda_options();
    fake_gpu.cc_major = 7;
    CHECK(rz_engine_open(&o) == -RZ_E_UNSUPPORTED && says("compute capability 7.0, at least 8.0 is needed"));
    CHECK(info_says("too old"));
    o = cuda_options();
    o.device[0] = 1;
    CHECK(rz_engine_open(&o) == -RZ_E_ARG && says("cuda device 1, this machine has 1"));
    CHECK(fake_gpu_is_clean() && nothing_is_left());
}

/* Machine code, PTX where there is none for this GPU or where it is asked for, and neither. */
static void test_code(void) {
    rz_engine_info info;
    for (int way = 0; way < 3; way++) {
        rz_engine_options o = cuda_options();
        fake_gpu.no_native = way == 1;
        o.isa_max = way == 2 ? RZ_ISA_PTX : RZ_ISA_AUTO;
        const int32_t e = rz_engine_open(&o);
        CHECK(e > 0 && rz_engine_info_read((uint32_t)e, &info) == 0);
        CHECK(info.isa == (way == 0 ? 0 : RZ_ISA_PTX));
        CHECK(rz_engine_close((uint32_t)e) == 0);
        CHECK(fake_gpu_is_clean() && fake_gpu.n_modules == 0);
    }
    rz_engine_options o = cuda_options();
    fake_gpu.no_native = fake_gpu.no_ptx = true;
    CHECK(rz_engine_open(&o) == -RZ_E_UNSUPPORTED && says("has no PTX for fake GPU (compute capability 9.0)"));
    CHECK(fake_gpu_is_clean() && fake_gpu.n_modules == 0 && nothing_is_left());
}

static void test_lists_of_code(void) {
    CHECK(rzc_has_code("sm_80", 8, 0) && rzc_has_code("sm_80", 8, 9) && !rzc_has_code("sm_80", 9, 0));
    CHECK(rzc_has_code("sm_80,sm_89", 8, 9) && !rzc_has_code("sm_89", 8, 6));
    CHECK(rzc_has_code("sm_90a", 9, 0) && !rzc_has_code("sm_90a", 10, 0) && !rzc_has_code("sm_90a", 8, 0));
    CHECK(rzc_has_code("sm_100,sm_120", 10, 3) && rzc_has_code("sm_100,sm_120", 12, 1));
    CHECK(!rzc_has_code("sm_100,sm_120", 11, 0) && rzc_has_code("sm_100,sm_120,ptx", 11, 0));
    CHECK(!rzc_has_code("", 9, 0) && !rzc_has_code("compute_80", 8, 0) && !rzc_has_code("sm_", 8, 0));
}

static void test_cycles(void) {
    const rz_engine_options o = cuda_options();
    for (int i = 0; i < CYCLES; i++) {
        rig r;
        CHECK(rig_open_on(&r, &o) == 0);
        CHECK(token_of(&r, submit_decode(&r, 0, 0, 5, 0, 0)) == 0); /* kernels do nothing: all logits are 0 */
        CHECK(token_of(&r, submit_decode(&r, 1, 0, 5, 0, 0)) == 0); /* the graph, a second time */
        rig_close(&r);
        CHECK(fake_gpu_is_clean() && fake_gpu.n_modules == 0 && nothing_is_left());
    }
}

/* Every call of the driver fails, one after another: a typed error, nothing is left, and the next try works. */
static void test_failing_calls(void) {
    int failed = 0;
    for (int n = 1; n < 5000; n++) {
        const rz_engine_options o = cuda_options();
        fake_gpu.fail_with = 1; /* CUDA_ERROR_INVALID_VALUE: not the end of a context */
        fake_gpu.fail_at = n;
        rig r;
        const int32_t opened = rig_open_on(&r, &o);
        int32_t token = 0;
        if (opened == 0) {
            token = token_of(&r, submit_decode(&r, 0, 0, 5, 0, 0));
            if (token != 0) CHECK(token == -1000 - RZ_E_DEVICE && says("made up"));
            CHECK(token == 0 || token_of(&r, submit_decode(&r, 0, 0, 5, 0, 0)) == 0);
            rig_close(&r);
        } else {
            CHECK(opened == -RZ_E_DEVICE && says("made up"));
        }
        CHECK(fake_gpu_is_clean() && nothing_is_left());
        if (opened == 0 && token == 0) break;
        failed++;
    }
    CHECK(failed > 30 && failed < 4999);
}

static void test_no_memory(void) {
    const rz_engine_options o = cuda_options();
    rig r;
    CHECK(rig_open_on(&r, &o) == 0);
    /* A cache that cannot fit: nobody asks the driver for it, and the message has both numbers. */
    rz_cache_options large = small_cache();
    large.groups[0].n_pages = 1u << 20;
    const int before = fake_gpu.n_calls;
    CHECK(rz_cache_open(r.engine, &large) == -RZ_E_OOM_DEVICE);
    CHECK(fake_gpu.n_calls - before == 1); /* cuMemGetInfo */
    char text[80];
    const uint64_t need = (uint64_t)large.groups[0].n_pages * PAGE * 32 * 2;
    snprintf(text, sizeof text, "%llu are free", (unsigned long long)(fake_gpu.total_bytes - fake_gpu.used_bytes));
    CHECK(says(text));
    CHECK(need > fake_gpu.total_bytes - fake_gpu.used_bytes);
    /* A second model beside it does not fit; the first one goes on. */
    fake_gpu.total_bytes = fake_gpu.used_bytes + 1024;
    rig other;
    CHECK(rig_open_on(&other, &o) == -RZ_E_OOM_DEVICE && says("bytes"));
    CHECK(token_of(&r, submit_decode(&r, 0, 0, 5, 0, 0)) == 0);
    rig_close(&r);
    CHECK(fake_gpu_is_clean() && nothing_is_left());
}

/* Every handle of a lost engine answers DEVICE_LOST with the first message; others work, and new ones if they open. */
static void test_lost(uint32_t kind, const char *message, bool stays_lost) {
    const rz_engine_options o = cuda_options();
    const rz_cache_options cache_options = small_cache();
    rig r, host;
    float row[16];
    uint8_t page[1 << 14];
    double gb_s[1];
    fake_gpu.stays_lost = stays_lost;
    CHECK(rig_open_on(&r, &o) == 0);
    CHECK(rig_open(&host) == 0);
    CHECK(rz_weights_read(r.weights, 1, 0, 1, row, 16) == 16);
    CHECK(rz_test_fail_after(kind, 1) >= 0);
    CHECK(token_of(&r, submit_decode(&r, 0, 0, 5, 0, 0)) == -1000 - RZ_E_DEVICE_LOST && says(message));
    CHECK(token_of(&r, submit_decode(&r, 0, 0, 5, 0, 0)) == -1000 - RZ_E_DEVICE_LOST && says(message));
    CHECK(rz_weights_read(r.weights, 1, 0, 1, row, 16) == -RZ_E_DEVICE_LOST && says(message));
    CHECK(rz_plan_open(r.weights, r.plan_bytes, r.plan_n, &r.options) == -RZ_E_DEVICE_LOST && says(message));
    CHECK(rz_cache_open(r.engine, &cache_options) == -RZ_E_DEVICE_LOST && says(message));
    CHECK(rz_cache_read(r.cache, 0, 1, page, sizeof page) == -RZ_E_DEVICE_LOST && says(message));
    CHECK(rz_cache_write(r.cache, 0, 1, page, sizeof page) == -RZ_E_DEVICE_LOST && says(message));
    CHECK(rz_engine_measure(r.engine, 0, gb_s, 1) == -RZ_E_DEVICE_LOST && says(message));
    CHECK(open_weights(r.engine, r.plan_bytes) == -RZ_E_DEVICE_LOST && says("only a new process"));
    CHECK(token_of(&host, submit_decode(&host, 0, 0, 5, 0, 0)) == 6);
    rig_close(&r);
    CHECK(fake_gpu_is_clean());
    if (stays_lost) {
        CHECK(rig_open_on(&r, &o) == -RZ_E_DEVICE_LOST && says("cuCtxCreate"));
    } else {
        CHECK(rig_open_on(&r, &o) == 0);
        CHECK(token_of(&r, submit_decode(&r, 0, 0, 5, 0, 0)) == 0);
        rig_close(&r);
    }
    CHECK(token_of(&host, submit_decode(&host, 1, 0, 5, 0, 0)) == 6);
    rig_close(&host);
    CHECK(fake_gpu_is_clean() && nothing_is_left());
}

/* A GPU that is lost while weights come: the weights say so, they don't become ready with holes. */
static void test_lost_weights(void) {
    const rz_engine_options o = cuda_options();
    uint32_t n = 0;
    uint8_t *plan = small_plan(&n, FAKE_VOCAB);
    const rz_plan_header *h = (const void *)plan;
    const int32_t engine = rz_engine_open(&o);
    const int32_t weights = rz_weights_open((uint32_t)engine, NULL, 0, (const void *)(plan + sizeof *h), h->n_weights);
    const rz_weight *first = (const void *)(plan + sizeof *h);
    uint8_t *bytes = calloc(1, first->bytes);
    rz_progress progress;
    CHECK(engine > 0 && weights > 0);
    CHECK(rz_test_fail_after(RZ_TEST_TRAP, 1) >= 0);
    CHECK(rz_weights_write((uint32_t)weights, 1, 0, bytes, (uint32_t)first->bytes) == -RZ_E_DEVICE_LOST);
    CHECK(rz_weights_poll((uint32_t)weights, 0, &progress) == -RZ_E_DEVICE_LOST && progress.state == 2);
    CHECK(rz_engine_close((uint32_t)engine) == 0);
    CHECK(fake_gpu_is_clean() && nothing_is_left());
    free(bytes);
    free(plan);
}

int main(void) {
    test_reasons();
    test_code();
    test_lists_of_code();
    test_cycles();
    test_failing_calls();
    test_no_memory();
    test_lost(RZ_TEST_TRAP, "(719)", false);
    test_lost(RZ_TEST_TRAP, "(719)", true);
    test_lost(RZ_TEST_STRAY, "(700)", false);
    test_lost_weights();
    rz_test_driver_set(NULL);
    return TEST_RESULT("cuda_host_test");
}
