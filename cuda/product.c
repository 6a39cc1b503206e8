/* product.c - which way a product goes. */
#include "prefill.h"

rz_status rzc_product_any(rzc_program *p, const rz_tensor *w, const rzc_product *product, uint32_t value) {
    const bool plain = product->ids != 0 || product->head_rows > 0 || rzc_is_fixed(p);
    if (!plain && rzc_can_gemv(p, w, product->n_rows)) return rzc_product_few(p, product);
    if (!plain && rzc_can_prefill(p, product)) return rzc_prefill_product(p, product, value);
    const bool single = product->ids != 0 || product->n_rows == 1;
    rzc_product own = *product;
    const rzc_shape shape = {.x = (own.n_out + 3) / 4, .y = single ? own.n_rows : (own.n_rows + 7) / 8, .threads = 128,
                             .chained = true};
    return rzc_launch(p->engine, p->engine->stream, (single ? RZC_K_PRODUCT1 : RZC_K_PRODUCT8) + own.w.format, shape,
                      &own);
}
