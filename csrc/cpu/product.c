/* product.c - products of activations with MATMUL weights: the input is normed and quantized, units of stripes are
 * multiplied and handed to what follows (after.c).
 *
 * With few rows every thread prepares the input for itself, which is cheaper than a job; with many it is a job of its
 * own. A few rows are multiplied straight from the stripes, more by panels unpacked once for all of them: same bits
 * either way. */
#include "cpu.h"
#include "dtype.h"
#include <string.h>

#define FEW_ROWS 32u
#define FEW_ROWS_UNIT ((size_t)64 << 10) /* bytes of weights: nobody waits long for the last one */
#define FEW_ROWS_RUN ((size_t)1 << 20)   /* of units that a thread takes in a row, so that its stream does not break */

rz_cpu_matrix rz_cpu_matrix_of(const rz_cpu_program *p, uint32_t weight, uint32_t bias) {
    const rz_weight *spec = &p->ir->weights[weight - 1];
    const uint32_t layout = rz_cpu_layout_of(spec);
    rz_cpu_matrix m = {.spec = spec,
                       .layout = layout,
                       .rows = spec->rows,
                       .cols = spec->cols,
                       .stripes = rz_cpu_stripes(spec->rows)};
    if (layout == RZ_LAYOUT_ROWS) {
        const rz_dtype_row *dtype = rz_dtype_find(spec->dtype);
        m.stripe_bytes = (size_t)spec->cols / dtype->block_size * dtype->block_bytes * RZ_STRIPE_ROWS;
    } else {
        m.stripe_bytes = rz_cpu_stripe_bytes(layout, spec->cols);
    }
    if (p->tensors) {
        m.data = p->tensors[weight - 1].data;
        m.bias = rz_cpu_vector(p, bias);
    }
    return m;
}

/* ---- multiplying ------------------------------------------------------------------------------------------------ */

/* The panels that this machine multiplies a layout by. */
static const rz_cpu_panels *panels_of(const rz_cpu_program *p, uint32_t layout) {
    const rz_cpu_panels *pairs = p->engine->kernels->pairs;
    return pairs && pairs->unpack[layout] ? pairs : &p->engine->kernels->int8->panels;
}

static void by_panels(const rz_cpu_program *p, const rz_cpu_scratch *s, const rz_cpu_matrix *m, uint32_t first,
                      uint32_t n, const rz_x8 *x, uint32_t row, uint32_t n_rows, float *tiles) {
    const rz_cpu_panels *k = panels_of(p, m->layout);
    const uint32_t blocks = m->cols / 32, group = rz_cpu_unit_blocks(m->layout), part_blocks = rz_part_blocks(blocks);
    const size_t header = rz_cpu_header_bytes(m->layout, blocks), unit_bytes = rz_cpu_unit_bytes(m->layout);
    const size_t next_bytes = part_blocks / group * unit_bytes;
    rz_panel_outliers outliers = {.c = s->outliers, .cursor = s->cursor};
    memset(tiles, 0, (size_t)(n + 1) / 2 * 32 * n_rows * sizeof(float));
    for (uint32_t i = 0; i < n; i += 2, tiles += 32 * n_rows) {
        const uint8_t *stripe = m->data + (first + i) * m->stripe_bytes;
        memset(s->outliers, 0, (size_t)n_rows * 32 * sizeof(float));
        memset(s->cursor, 0, n_rows * sizeof(uint32_t));
        outliers.counts = x->n_high_in + row;
        for (uint32_t b = 0; b < blocks; b += part_blocks, outliers.counts += x->n_rows) {
            const uint32_t n_here = rz_cpu_least(part_blocks, blocks - b);
            for (uint32_t h = 0; h < 2 && i + h < n; h++) {
                k->unpack[m->layout](stripe + h * m->stripe_bytes, blocks, b, n_here, s->panels, h);
            }
            /* The same columns of the next stripes, or the next columns of these. */
            const uint8_t *next = stripe + header + (b + n_here) / group * unit_bytes;
            const uint8_t *const streams[2] = {next, next + m->stripe_bytes};
            k->multiply[m->layout](s->panels, x, row, n_rows, b, n_here, tiles, &outliers, streams, next_bytes);
        }
        for (uint32_t r = 0; r < n_rows; r++) {
            if (s->cursor[r] == 0) continue;
            p->engine->kernels->rows->add(tiles + 32 * r, s->outliers + 32 * r, 32, tiles + 32 * r);
        }
    }
}

/* Weights that stay as in the file: 16 rows are dequantized, a run of columns at a time. */
static void by_lines(const rz_cpu_program *p, const rz_cpu_scratch *s, const rz_cpu_matrix *m, uint32_t first,
                     uint32_t n, const float *x, uint32_t n_rows, float *tiles) {
    const rz_dtype_row *dtype = rz_dtype_find(m->spec->dtype);
    const size_t row_bytes = m->stripe_bytes / RZ_STRIPE_ROWS;
    float *row = s->row, *lines = s->row + 256;
    memset(tiles, 0, (size_t)(n + 1) / 2 * 32 * n_rows * sizeof(float));
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t n_here = rz_cpu_least(RZ_STRIPE_ROWS, m->rows - (first + i) * RZ_STRIPE_ROWS);
        const uint8_t *src = m->data + (first + i) * m->stripe_bytes;
        for (uint32_t c = 0, w = 0; c < m->cols; c += w) {
            w = rz_cpu_least(256, m->cols - c); /* whole blocks: their size divides 256 */
            memset(lines, 0, (size_t)w * 16 * sizeof(float));
            for (uint32_t r = 0; r < n_here; r++) {
                dtype->dequantize(src + r * row_bytes + c / dtype->block_size * dtype->block_bytes, w, row);
                for (uint32_t j = 0; j < w; j++) lines[16 * j + r] = row[j];
            }
            p->engine->kernels->floats->lines(lines, x + c, m->cols, n_rows, w,
                                              tiles + (size_t)(i / 2) * 32 * n_rows + i % 2 * 16);
        }
    }
}

void rz_cpu_multiply(const rz_cpu_program *p, const rz_cpu_scratch *s, const rz_cpu_matrix *m, uint32_t first,
                     uint32_t n, const rz_cpu_input *x, uint32_t row, uint32_t n_rows, float *tiles) {
    const uint8_t *stripes = m->data + first * m->stripe_bytes;
    const size_t tile_stride = 32 * (size_t)n_rows;
    if (m->layout < RZ_N_INT8) {
        if (n_rows >= panels_of(p, m->layout)->rows_from)
            by_panels(p, s, m, first, n, &x->x8, row, n_rows, tiles);
        else
            p->engine->kernels->few->direct[m->layout](stripes, m->stripe_bytes, n, &x->x8, row, n_rows, m->cols / 32,
                                                       tiles, tile_stride);
        return;
    }
    if (m->layout == RZ_LAYOUT_BF16 && x->halves) {
        const size_t stride = rz_x_halves(m->cols);
        p->engine->kernels->bf16->direct(stripes, m->stripe_bytes, n, x->halves + row * stride, stride, n_rows, m->cols,
                                         tiles, tile_stride);
        return;
    }
    const float *rows = x->rows + (size_t)row * m->cols;
    if (m->layout == RZ_LAYOUT_ROWS)
        by_lines(p, s, m, first, n, rows, n_rows, tiles);
    else
        p->engine->kernels->floats->direct[m->layout - RZ_LAYOUT_F32](stripes, m->stripe_bytes, n, rows, m->cols,
                                                                      n_rows, m->cols, tiles, tile_stride);
}

/* ---- the input -------------------------------------------------------------------------------------------------- */

/* Norms row r of the input into y. */
static void norm_row(const rz_cpu_program *p, const rz_cpu_product *d, const float *x, float *y) {
    const rz_op *op = d->norm;
    const uint32_t cols = d->mats[0].cols;
    const float *w = rz_cpu_vector(p, op->w[0]);
    if (op->code == RZ_OP_RMS_NORM)
        p->engine->kernels->rows->rms_norm(x, w, cols, op->f[0], y);
    else
        p->engine->kernels->rows->layer_norm(x, w, rz_cpu_vector(p, op->w[1]), cols, op->f[0], y);
}

/* Prepares row r: normed into y (NULL: no norm is wanted), to int8 (NULL: not). */
static void prepare_row(const rz_cpu_program *p, const rz_cpu_product *d, uint32_t r, float *y,
                        const rz_cpu_int8_rows *to) {
    const uint32_t cols = d->mats[0].cols;
    const float *x = rz_cpu_value(p, d->in) + (size_t)r * cols;
    if (d->norm) norm_row(p, d, x, y);
    if (to) rz_cpu_to_int8(p, d->norm ? y : x, cols, r, to);
}

void rz_cpu_to_int8(const rz_cpu_program *p, const float *x, uint32_t cols, uint32_t r, const rz_cpu_int8_rows *to) {
    to->n_high[r] = p->engine->kernels->rows->to_int8(x, cols, to->blocks + r, to->n_rows,
                                                      to->high + r * rz_x_highs(cols), to->n_high_in + r);
}

rz_x8 rz_cpu_x8_of(const rz_cpu_int8_rows *rows, uint32_t cols) {
    return (rz_x8){.blocks = rows->blocks,
                   .n_rows = rows->n_rows,
                   .high = rows->high,
                   .high_stride = rz_x_highs(cols),
                   .n_high = rows->n_high,
                   .n_high_in = rows->n_high_in};
}

/* Whether activations are rounded to BF16 for a product. */
static bool takes_bf16(const rz_cpu_program *p, const rz_cpu_product *d) {
    bool any = false;
    for (uint32_t m = 0; m < d->n_mats; m++) any |= d->mats[m].layout == RZ_LAYOUT_BF16;
    return any && p->engine->kernels->bf16;
}

static void prepare_rows(rz_cpu_program *p, uint32_t thread, uint32_t first, uint32_t end) {
    const rz_cpu_product *d = p->launch->product;
    const bool int8 = d->mats[0].layout < RZ_N_INT8;
    rz_cpu_int8_rows to = p->int8;
    to.n_rows = rz_cpu_rows_of(p, d->in);
    const size_t cols = d->mats[0].cols;
    for (uint32_t r = first; r < end; r++) {
        float *y = int8 ? p->scratch[thread].row : p->xf + r * cols;
        prepare_row(p, d, r, y, int8 ? &to : NULL);
        if (!takes_bf16(p, d)) continue;
        const float *x = d->norm ? y : rz_cpu_value(p, d->in) + r * cols;
        p->engine->kernels->bf16->round(x, (uint32_t)cols, p->halves + r * rz_x_halves(cols));
    }
}

/* ---- units ------------------------------------------------------------------------------------------------------ */

typedef struct job {
    rz_cpu_program *p;
    const rz_cpu_product *d;
    rz_cpu_input x;
    bool is_own; /* each thread prepares the input for itself */
    uint32_t n_rows, n_blocks;
    uint32_t run;                        /* units that a thread takes at once */
    uint32_t unit[RZ_PRODUCT_MATS];      /* stripes of a unit of each matrix */
    uint32_t first_unit[RZ_PRODUCT_MATS + 1];
} job;

/* The matrix of unit u. */
static uint32_t matrix_of(const job *j, uint32_t u) {
    uint32_t m = 0;
    while (u >= j->first_unit[m + 1]) m++;
    return m;
}

/* Multiplies `count` units of matrix m from u on, rows [row, row + n), and finishes them. */
static void run_units(const job *j, const rz_cpu_scratch *s, const rz_cpu_input *x, uint32_t m, uint32_t u,
                      uint32_t count, uint32_t row, uint32_t n) {
    const rz_cpu_product *d = j->d;
    const uint32_t unit = j->unit[m], first = (u - j->first_unit[m]) * unit;
    const uint32_t stripes = rz_cpu_least(unit * count, d->mats[m].stripes - first);
    rz_cpu_multiply(j->p, s, &d->mats[m], first, stripes, x, row, n, s->tiles);
    if (d->after == RZ_AFTER_GLU) {
        float *up = s->tiles + (size_t)(stripes + 1) / 2 * 32 * n; /* behind the gate's tiles */
        rz_cpu_multiply(j->p, s, &d->mats[1], first, stripes, x, row, n, up);
    }
    if (d->after != RZ_AFTER_HEADS) count = 1; /* all at once */
    for (uint32_t i = 0; i < count; i++) {
        float *tiles = s->tiles + (size_t)i * unit / 2 * 32 * n;
        rz_cpu_after_product(j->p, s, d, m, first + i * unit, count == 1 ? stripes : unit, row, n, tiles);
    }
}

static void run_items(void *arg, uint32_t thread) {
    const job *j = arg;
    const rz_cpu_scratch *s = &j->p->scratch[thread];
    rz_cpu_input x = j->x;
    bool is_ready = !j->is_own;
    uint32_t item = 0;
    for (uint32_t n = 0; (n = rz_pool_next_run(thread, j->run, &item)) > 0;) {
        if (rz_cpu_cancelled(j->p)) continue;
        if (!is_ready) {
            rz_cpu_int8_rows own = s->int8;
            own.n_rows = j->n_rows;
            for (uint32_t r = 0; r < j->n_rows; r++) prepare_row(j->p, j->d, r, s->row, &own);
            x.x8 = rz_cpu_x8_of(&own, j->d->mats[0].cols);
            is_ready = true;
        }
        const uint32_t block = item % j->n_blocks;
        const uint32_t row = (uint32_t)((uint64_t)j->n_rows * block / j->n_blocks);
        const uint32_t end = (uint32_t)((uint64_t)j->n_rows * (block + 1) / j->n_blocks);
        for (uint32_t u = item / j->n_blocks, stop = u + n; u < stop;) {
            const uint32_t m = matrix_of(j, u), count = rz_cpu_least(stop, j->first_unit[m + 1]) - u;
            run_units(j, s, &x, m, u, count, row, end - row);
            u += count;
        }
    }
}

/* Stripes of a unit for few rows; a kernel takes `step` at once. */
static uint32_t few_rows_unit(const rz_cpu_matrix *m, uint32_t n_rows, uint32_t step) {
    if (n_rows <= 8 && m->layout < RZ_N_INT8) step = 1; /* no panels */
    const uint32_t fit = (uint32_t)(FEW_ROWS_UNIT / m->stripe_bytes) / step * step;
    return rz_cpu_most(step, rz_cpu_least(16, fit));
}

/* Units that a thread takes in a row: only of one block of rows, and their results must fit. */
static uint32_t units_in_a_run(const job *j, uint32_t tile_floats) {
    const uint32_t bytes = (uint32_t)(j->unit[0] * j->d->mats[0].stripe_bytes);
    const bool odd_heads = j->d->after == RZ_AFTER_HEADS && j->unit[0] % 2 != 0; /* end in the middle of a tile */
    if (j->n_rows > FEW_ROWS || j->n_blocks > 1 || odd_heads) return 1;
    const uint32_t fit = RZ_UNIT_FLOATS / (tile_floats * j->n_rows);
    return rz_cpu_most(1, rz_cpu_least((uint32_t)FEW_ROWS_RUN / bytes, fit));
}

/* Chooses units: whole heads, else runs of stripes; and blocks of rows so that results of a unit fit tiles and
 * threads have enough items to share evenly. */
static void choose_units(job *j) {
    const rz_cpu_product *d = j->d;
    const uint32_t n_threads = j->p->engine->n_threads;
    const uint32_t n_mats = d->after == RZ_AFTER_GLU ? 1 : d->n_mats;
    uint32_t widest = 2;
    for (uint32_t m = 0; m < n_mats; m++) {
        uint32_t unit = d->mats[m].layout < RZ_N_INT8 ? 2 : 4; /* what a kernel takes at once */
        if (d->after == RZ_AFTER_HEADS)
            unit = d->heads[m].cols / RZ_STRIPE_ROWS;
        else if (j->n_rows <= FEW_ROWS)
            unit = few_rows_unit(&d->mats[m], j->n_rows, unit);
        j->unit[m] = unit;
        j->first_unit[m + 1] = j->first_unit[m] + (d->mats[m].stripes + unit - 1) / unit;
        widest = rz_cpu_most(widest, unit);
    }
    const uint32_t tile_floats = (widest + 1) / 2 * 32 * (d->after == RZ_AFTER_GLU ? 2 : 1);
    const uint32_t rows_max = rz_cpu_least(RZ_BLOCK_ROWS, RZ_UNIT_FLOATS / tile_floats);
    j->n_blocks = (j->n_rows + rows_max - 1) / rows_max;
    while (j->first_unit[n_mats] * j->n_blocks < 8 * n_threads && j->n_rows / (j->n_blocks + 1) > FEW_ROWS) {
        j->n_blocks++;
    }
    j->run = units_in_a_run(j, tile_floats);
    for (uint32_t m = n_mats; m < RZ_PRODUCT_MATS; m++) j->first_unit[m + 1] = j->first_unit[n_mats];
}

void rz_cpu_product_run(rz_cpu_program *p, const rz_cpu_launch *l) {
    const rz_cpu_product *d = l->product;
    const uint32_t cols = d->mats[0].cols;
    job j = {.p = p, .d = d, .n_rows = rz_cpu_rows_of(p, d->in)};
    const bool int8 = d->mats[0].layout < RZ_N_INT8;
    if (j.n_rows == 0) return;
    j.x = (rz_cpu_input){.rows = d->norm ? p->xf : rz_cpu_value(p, d->in)};
    if (int8) {
        rz_cpu_int8_rows rows = p->int8;
        rows.n_rows = j.n_rows;
        j.x.x8 = rz_cpu_x8_of(&rows, cols);
    }
    if (takes_bf16(p, d)) j.x.halves = p->halves;
    j.is_own = int8 && (j.n_rows == 1 || (uint64_t)j.n_rows * cols <= RZ_OWN_COLS);
    if (!j.is_own && (int8 || d->norm || j.x.halves)) rz_cpu_each_row(p, j.n_rows, cols, prepare_rows);
    choose_units(&j);
    rz_pool_run(p->engine->n_threads, j.first_unit[RZ_PRODUCT_MATS] * j.n_blocks, run_items, &j);
}
