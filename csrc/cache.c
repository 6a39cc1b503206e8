/* cache.c - rz_cache_*: pages of keys and values, and what a submit needs to check batches against them. */
#include "engine.h"
#include "plan.h"
#include <string.h>

#define PAGES_MAX (1u << 26) /* of a group */
#define TABLE_FLOOR 8192u    /* entries a slot's tables may have at least, see tables_max */
#define TABLE_FLOOR_ALL (1u << 18)

static_assert(sizeof(rz_cache_group) == 32 && sizeof(rz_cache_options) == 288);

/* ---- open ------------------------------------------------------------------------------------------------------ */

static rz_status check_group(const rz_cache_group *g, uint32_t i) {
    if (g->n_layers < 1 || g->n_layers > RZ_MAX_LAYERS) {
        return rz_fail(RZ_E_ARG, "rz_cache_open: group %u: n_layers is %u, expected 1..%u", i, g->n_layers,
                       RZ_MAX_LAYERS);
    }
    if (g->k_cols < 1 || g->k_cols > RZ_MAX_COLS || g->v_cols < 1 || g->v_cols > RZ_MAX_COLS) {
        return rz_fail(RZ_E_ARG, "rz_cache_open: group %u: k_cols %u, v_cols %u, expected 1..%u", i, g->k_cols,
                       g->v_cols, RZ_MAX_COLS);
    }
    if (g->page_tokens < 16 || g->page_tokens > 1024 || (g->page_tokens & (g->page_tokens - 1)) != 0) {
        return rz_fail(RZ_E_ARG, "rz_cache_open: group %u: page_tokens is %u, expected a power of two, 16-1024", i,
                       g->page_tokens);
    }
    if (g->n_pages < 2 || g->n_pages > PAGES_MAX) {
        return rz_fail(RZ_E_ARG, "rz_cache_open: group %u: n_pages is %u, expected 2..%u", i, g->n_pages, PAGES_MAX);
    }
    return RZ_OK;
}

static rz_status check_options(const rz_cache_options *o) {
    const rz_cache_group none = {0};
    if (o->size != sizeof *o) return rz_fail(RZ_E_ARG, "rz_cache_open: size is %u, expected %zu", o->size, sizeof *o);
    if (o->n_groups < 1 || o->n_groups > RZ_MAX_GROUPS || o->n_slots < 1 || o->n_slots > 65536) {
        return rz_fail(RZ_E_ARG, "rz_cache_open: n_groups %u (1-8), n_slots %u (1-65536)", o->n_groups, o->n_slots);
    }
    for (uint32_t i = 0; i < 5; i++) {
        if (o->reserved[i] != 0) return rz_fail(RZ_E_ARG, "rz_cache_open: reserved[%u] is %u", i, o->reserved[i]);
    }
    for (uint32_t i = 0; i < RZ_MAX_GROUPS; i++) {
        if (i >= o->n_groups) {
            if (memcmp(&o->groups[i], &none, sizeof none) == 0) continue;
            return rz_fail(RZ_E_ARG, "rz_cache_open: group %u is not empty, n_groups is %u", i, o->n_groups);
        }
        const rz_status status = check_group(&o->groups[i], i);
        if (status != RZ_OK) return status;
    }
    return RZ_OK;
}

/* Entries that the page tables of one step may have: sequences that share pages, and tables of windows whose pages are
 * mostly freed, have more entries than there are pages. */
static uint32_t tables_max(const rz_cache_options *o) {
    uint64_t n_pages = 0;
    for (uint32_t g = 0; g < o->n_groups; g++) n_pages += o->groups[g].n_pages;
    uint64_t floor = (uint64_t)o->n_slots * TABLE_FLOOR;
    if (floor > TABLE_FLOOR_ALL) floor = TABLE_FLOOR_ALL;
    const uint64_t n = 8 * n_pages > floor ? 8 * n_pages : floor;
    return n < UINT32_MAX / 8 ? (uint32_t)n : UINT32_MAX / 8;
}

static void *cache_alloc(rz_cache *c, uint64_t n, uint64_t item_bytes, const char *what) {
    return rz_alloc(c->engine->account, RZ_MEMORY_CACHE, (size_t)(n * item_bytes), what);
}

static rz_status open_group(rz_cache *c, uint32_t g) {
    rz_cache_mem *mem = &c->view.groups[g];
    uint64_t bytes = 0;
    mem->spec = c->options.groups[g];
    rz_mutex_lock(&c->engine->open_lock);
    const rz_status status =
        (rz_status)c->engine->backend->page_bytes(c->engine->state, &c->options.groups[g], &mem->page_bytes);
    rz_mutex_unlock(&c->engine->open_lock);
    if (status != RZ_OK) return status;
    if (__builtin_mul_overflow(mem->page_bytes, mem->spec.n_pages, &bytes) || bytes > SIZE_MAX / 2) {
        return rz_fail(RZ_E_OVERFLOW, "rz_cache_open: group %u: %u pages of %llu bytes do not fit", g,
                       mem->spec.n_pages, (unsigned long long)mem->page_bytes);
    }
    c->page_stamp[g] = cache_alloc(c, mem->spec.n_pages, sizeof *c->page_stamp[g], "stamps of a cache");
    if (c->page_stamp[g] == NULL) return RZ_E_OOM_HOST;
    return rz_engine_alloc(c->engine, RZ_MEMORY_CACHE, bytes, "pages of a cache", &mem->data);
}

static rz_status open_parts(rz_cache *c) {
    const rz_cache_options *o = &c->options;
    for (uint32_t g = 0; g < o->n_groups; g++) {
        const rz_status status = open_group(c, g);
        if (status != RZ_OK) return status;
    }
    const uint64_t n_ids = (uint64_t)o->groups[0].n_pages * o->groups[0].page_tokens;
    c->view.n_groups = o->n_groups;
    c->view.ids = cache_alloc(c, n_ids, sizeof *c->view.ids, "token ids of a cache");
    c->view.last = cache_alloc(c, o->n_slots, sizeof *c->view.last, "slots of a cache");
    c->slot_stamp = cache_alloc(c, o->n_slots, sizeof *c->slot_stamp, "slots of a cache");
    if (c->view.ids == NULL || c->view.last == NULL || c->slot_stamp == NULL) return RZ_E_OOM_HOST;
    for (uint32_t i = 0; i < o->n_slots; i++) c->view.last[i] = -1;
    c->pages_max = tables_max(o);
    uint32_t *pages = cache_alloc(c, (uint64_t)c->pages_max * RZ_QUEUE_DEPTH, 4, "page tables of a cache");
    for (uint32_t i = 0; i < RZ_QUEUE_DEPTH && pages != NULL; i++) c->pages[i] = pages + (size_t)i * c->pages_max;
    if (pages == NULL) return RZ_E_OOM_HOST;
    if (c->engine->backend->memory_open == NULL) return RZ_OK;
    return rz_engine_alloc(c->engine, RZ_MEMORY_CACHE, c->pages_max * 4ull, "page tables of a step", &c->view.tables);
}

static void free_cache(rz_cache *c) {
    for (uint32_t g = 0; g < RZ_MAX_GROUPS; g++) {
        const rz_cache_mem *mem = &c->view.groups[g];
        rz_engine_free(c->engine, RZ_MEMORY_CACHE, mem->page_bytes * mem->spec.n_pages, mem->data);
        rz_free(c->page_stamp[g]);
    }
    rz_engine_free(c->engine, RZ_MEMORY_CACHE, c->pages_max * 4ull, c->view.tables);
    rz_free(c->view.ids);
    rz_free(c->view.last);
    rz_free(c->slot_stamp);
    rz_free(c->pages[0]);
    rz_mutex_destroy(&c->fill_lock);
    rz_free(c);
}

static void cache_stop(rz_object *object) {
    rz_cache *c = (rz_cache *)(void *)object;
    rz_queue_cache_stop(&c->engine->queue, c);
}

static void cache_destroy(rz_object *object) {
    rz_cache *c = (rz_cache *)(void *)object;
    rz_queue_cache_remove(&c->engine->queue, c);
    free_cache(c);
}

static const rz_class cache_class = {RZ_KIND_CACHE, "cache", cache_stop, cache_destroy};

static rz_status cache_open(rz_engine *engine, const rz_cache_options *options, uint32_t *id) {
    rz_status status = check_options(options);
    if (status != RZ_OK) return status;
    rz_cache *c = rz_alloc(engine->account, RZ_MEMORY_CACHE, sizeof *c, "cache");
    if (c == NULL) return RZ_E_OOM_HOST;
    c->engine = engine;
    c->options = *options;
    rz_mutex_init(&c->fill_lock);
    status = open_parts(c);
    if (status == RZ_OK) status = rz_handle_open(&c->object, &cache_class, &engine->object);
    if (status == RZ_OK) *id = c->object.id;
    else free_cache(c);
    return status;
}

RZ_API int32_t rz_cache_open(uint32_t engine, const rz_cache_options *options) {
    rz_engine *e = NULL;
    uint32_t id = 0;
    if (options == NULL) return -(int32_t)rz_fail(RZ_E_ARG, "rz_cache_open: options is NULL");
    rz_status status = rz_pin_engine("rz_cache_open", engine, &e);
    if (status != RZ_OK) return -(int32_t)status;
    rz_cache_options own;
    memcpy(&own, options, sizeof own);
    status = cache_open(e, &own, &id);
    rz_handle_unpin(&e->object);
    return status == RZ_OK ? (int32_t)id : -(int32_t)status;
}

RZ_API int32_t rz_cache_close(uint32_t cache) {
    return -(int32_t)rz_handle_close("rz_cache_close", cache, RZ_KIND_CACHE);
}

/* ---- pages in and out ------------------------------------------------------------------------------------------ */

/* A page's bytes outside: what the backend holds, then (group 0) the ids of its tokens. */
typedef struct page_ref {
    uint8_t *data;
    uint64_t data_bytes;
    int32_t *ids;
    uint64_t ids_bytes;
} page_ref;

static rz_status find_page(rz_cache *c, const char *function, uint32_t group, uint32_t page, uint32_t n,
                           page_ref *out) {
    if (group >= c->options.n_groups || page < 1 || page >= c->options.groups[group].n_pages) {
        const uint32_t n_pages = group < c->options.n_groups ? c->options.groups[group].n_pages : 0;
        return rz_fail(RZ_E_ARG, "%s: group %u of %u, page %u of 1..%u", function, group, c->options.n_groups, page,
                       n_pages > 0 ? n_pages - 1 : 0);
    }
    const rz_cache_mem *mem = &c->view.groups[group];
    *out = (page_ref){mem->data + page * mem->page_bytes, mem->page_bytes, NULL, 0};
    if (group == 0) {
        out->ids = c->view.ids + (size_t)page * mem->spec.page_tokens;
        out->ids_bytes = mem->spec.page_tokens * sizeof *out->ids;
    }
    const uint64_t bytes = out->data_bytes + out->ids_bytes;
    if (bytes <= n && bytes <= INT32_MAX) return RZ_OK;
    return rz_fail(RZ_E_ARG, "%s: %u bytes of room, a page of group %u has %llu", function, n, group,
                   (unsigned long long)bytes);
}

static rz_status move_bytes(rz_engine *e, const page_ref *p, uint8_t *out, const uint8_t *in) {
    const rz_backend *b = e->backend;
    if (b->memory_open == NULL) {
        if (in != NULL) memcpy(p->data, in, p->data_bytes);
        if (out != NULL) memcpy(out, p->data, p->data_bytes);
        return RZ_OK;
    }
    if (in != NULL) return (rz_status)b->page_write(e->state, p->data, in, p->data_bytes);
    return (rz_status)b->page_read(e->state, out, p->data, p->data_bytes);
}

/* Copies one page out (in == NULL) or in, in a turn of this thread; returns its bytes or a negative status. */
static int32_t move_page(uint32_t cache, const char *function, uint32_t group, uint32_t page, uint8_t *out,
                         const uint8_t *in, uint32_t n) {
    rz_cache *c = NULL;
    page_ref p = {0};
    rz_status status = rz_pin_cache(function, cache, &c);
    if (status != RZ_OK) return -(int32_t)status;
    status = find_page(c, function, group, page, n, &p);
    if (status == RZ_OK && out == NULL && in == NULL) status = rz_fail(RZ_E_ARG, "%s: buffer is NULL", function);
    rz_fence fence = {.owner = c, .stopped = &c->stopped};
    if (status == RZ_OK) status = rz_queue_fence_begin(&c->engine->queue, &fence, function);
    if (status == RZ_OK) {
        status = move_bytes(c->engine, &p, out, in);
        if (in != NULL && p.ids != NULL) memcpy(p.ids, in + p.data_bytes, p.ids_bytes);
        if (out != NULL && p.ids != NULL) memcpy(out + p.data_bytes, p.ids, p.ids_bytes);
        rz_queue_fence_end(&c->engine->queue);
    }
    rz_handle_unpin(&c->object);
    return status == RZ_OK ? (int32_t)(p.data_bytes + p.ids_bytes) : -(int32_t)status;
}

RZ_API int32_t rz_cache_read(uint32_t cache, uint32_t group, uint32_t page, uint8_t *out, uint32_t cap) {
    return move_page(cache, "rz_cache_read", group, page, out, NULL, cap);
}

RZ_API int32_t rz_cache_write(uint32_t cache, uint32_t group, uint32_t page, const uint8_t *bytes, uint32_t n) {
    return move_page(cache, "rz_cache_write", group, page, NULL, bytes, n);
}
