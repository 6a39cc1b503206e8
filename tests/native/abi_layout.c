/* abi_layout.c - prints realizar.h as the C compiler has it: "struct name size", "field struct.name offset" and
 * "enum NAME value" lines. tests/abi_test.ts compares them with the tables in TypeScript. */
#include "dtype.h"
#include "op.h"
#include "realizar.h"
#include <stddef.h>
#include <stdio.h>

#define STRUCT(type) printf("struct %s %zu\n", #type, sizeof(type))
#define FIELD(type, field) printf("field %s.%s %zu\n", #type, #field, offsetof(type, field))
#define ENUM(name) printf("enum %s %d\n", #name, (int)(name))

static void print_objects(void) {
    STRUCT(rz_stats);
    FIELD(rz_stats, n_engines);
    FIELD(rz_stats, n_weights);
    FIELD(rz_stats, n_plans);
    FIELD(rz_stats, n_caches);
    FIELD(rz_stats, n_tickets);
    FIELD(rz_stats, n_threads);
    FIELD(rz_stats, reserved);
    FIELD(rz_stats, weights_bytes);
    FIELD(rz_stats, plan_bytes);
    FIELD(rz_stats, cache_bytes);
    FIELD(rz_stats, other_bytes);
    FIELD(rz_stats, total_bytes);
    FIELD(rz_stats, peak_bytes);
    FIELD(rz_stats, reserved64);
    STRUCT(rz_engine_options);
    FIELD(rz_engine_options, size);
    FIELD(rz_engine_options, backend);
    FIELD(rz_engine_options, n_devices);
    FIELD(rz_engine_options, device);
    FIELD(rz_engine_options, n_threads);
    FIELD(rz_engine_options, isa_max);
    FIELD(rz_engine_options, reserved);
    FIELD(rz_engine_options, memory_max);
    STRUCT(rz_engine_info);
    FIELD(rz_engine_info, backend);
    FIELD(rz_engine_info, n_threads);
    FIELD(rz_engine_info, isa);
    FIELD(rz_engine_info, page_tokens);
    FIELD(rz_engine_info, memory_used);
    FIELD(rz_engine_info, memory_max);
    FIELD(rz_engine_info, device_free);
    FIELD(rz_engine_info, device_total);
    FIELD(rz_engine_info, name);
    STRUCT(rz_cache_group);
    FIELD(rz_cache_group, n_layers);
    FIELD(rz_cache_group, window);
    FIELD(rz_cache_group, k_cols);
    FIELD(rz_cache_group, v_cols);
    FIELD(rz_cache_group, k_dtype);
    FIELD(rz_cache_group, v_dtype);
    FIELD(rz_cache_group, n_pages);
    FIELD(rz_cache_group, page_tokens);
    STRUCT(rz_cache_options);
    FIELD(rz_cache_options, size);
    FIELD(rz_cache_options, n_groups);
    FIELD(rz_cache_options, n_slots);
    FIELD(rz_cache_options, reserved);
    FIELD(rz_cache_options, groups);
    STRUCT(rz_progress);
    FIELD(rz_progress, state);
    FIELD(rz_progress, status);
    FIELD(rz_progress, done_bytes);
    FIELD(rz_progress, total_bytes);
    FIELD(rz_progress, reserved);
}

static void print_plan_1(void) {
    STRUCT(rz_weight);
    FIELD(rz_weight, dtype);
    FIELD(rz_weight, use);
    FIELD(rz_weight, rows);
    FIELD(rz_weight, cols);
    FIELD(rz_weight, n_experts);
    FIELD(rz_weight, file);
    FIELD(rz_weight, offset);
    FIELD(rz_weight, bytes);
    FIELD(rz_weight, aux);
    FIELD(rz_weight, shard_axis);
    FIELD(rz_weight, shard_i);
    FIELD(rz_weight, shard_n);
    FIELD(rz_weight, reserved);
    STRUCT(rz_plan_header);
    FIELD(rz_plan_header, magic);
    FIELD(rz_plan_header, n_bytes);
    FIELD(rz_plan_header, n_weights);
    FIELD(rz_plan_header, n_constants);
    FIELD(rz_plan_header, n_numbers);
    FIELD(rz_plan_header, n_values);
    FIELD(rz_plan_header, n_ops);
    FIELD(rz_plan_header, vocab_size);
    FIELD(rz_plan_header, hidden_size);
    FIELD(rz_plan_header, reserved);
    STRUCT(rz_constant);
    FIELD(rz_constant, name);
    FIELD(rz_constant, first);
    FIELD(rz_constant, n);
    FIELD(rz_constant, reserved);
    STRUCT(rz_value);
    FIELD(rz_value, rows);
    FIELD(rz_value, dtype);
    FIELD(rz_value, cols);
    FIELD(rz_value, flags);
    FIELD(rz_value, reserved);
    STRUCT(rz_op);
    FIELD(rz_op, code);
    FIELD(rz_op, flags);
    FIELD(rz_op, layer);
    FIELD(rz_op, out);
    FIELD(rz_op, in);
    FIELD(rz_op, w);
    FIELD(rz_op, n);
    FIELD(rz_op, f);
    FIELD(rz_op, reserved);
    STRUCT(rz_plan_options);
    FIELD(rz_plan_options, size);
    FIELD(rz_plan_options, flags);
    FIELD(rz_plan_options, max_tokens);
    FIELD(rz_plan_options, max_seqs);
    FIELD(rz_plan_options, max_outs);
    FIELD(rz_plan_options, max_rows);
    FIELD(rz_plan_options, patterns_off);
    FIELD(rz_plan_options, n_watched);
    FIELD(rz_plan_options, watched);
    FIELD(rz_plan_options, reserved);
}

static void print_plan_2(void) {
    STRUCT(rz_plan_info);
    FIELD(rz_plan_info, weights_bytes);
    FIELD(rz_plan_info, scratch_bytes);
    FIELD(rz_plan_info, n_ops);
    FIELD(rz_plan_info, n_values);
    FIELD(rz_plan_info, n_weights);
    FIELD(rz_plan_info, vocab_size);
    FIELD(rz_plan_info, hidden_size);
    FIELD(rz_plan_info, max_tokens);
    FIELD(rz_plan_info, max_seqs);
    FIELD(rz_plan_info, max_outs);
    FIELD(rz_plan_info, max_rows);
    FIELD(rz_plan_info, result_bytes_max);
    FIELD(rz_plan_info, logits_value);
    FIELD(rz_plan_info, n_classes);
    FIELD(rz_plan_info, class_rows);
    FIELD(rz_plan_info, n_launches);
    STRUCT(rz_brick);
    FIELD(rz_brick, op);
    FIELD(rz_brick, code);
    FIELD(rz_brick, layer);
    FIELD(rz_brick, calls);
    FIELD(rz_brick, ticks_ns);
    FIELD(rz_brick, bytes);
}

static void print_step_1(void) {
    STRUCT(rz_batch_header);
    FIELD(rz_batch_header, magic);
    FIELD(rz_batch_header, bytes);
    FIELD(rz_batch_header, flags);
    FIELD(rz_batch_header, n_seqs);
    FIELD(rz_batch_header, n_tokens);
    FIELD(rz_batch_header, n_outs);
    FIELD(rz_batch_header, n_pages);
    FIELD(rz_batch_header, n_copies);
    FIELD(rz_batch_header, n_bias);
    FIELD(rz_batch_header, n_ext_rows);
    FIELD(rz_batch_header, n_axes);
    FIELD(rz_batch_header, after);
    FIELD(rz_batch_header, reserved);
    STRUCT(rz_batch_copy);
    FIELD(rz_batch_copy, group);
    FIELD(rz_batch_copy, src_page);
    FIELD(rz_batch_copy, dst_page);
    FIELD(rz_batch_copy, n_tokens);
    STRUCT(rz_batch_seq);
    FIELD(rz_batch_seq, slot);
    FIELD(rz_batch_seq, n_past);
    FIELD(rz_batch_seq, n_new);
    FIELD(rz_batch_seq, flags);
    FIELD(rz_batch_seq, adapter);
    FIELD(rz_batch_seq, rope_table);
    FIELD(rz_batch_seq, first_page);
    FIELD(rz_batch_seq, reserved);
    STRUCT(rz_batch_out);
    FIELD(rz_batch_out, row);
    FIELD(rz_batch_out, mode);
    FIELD(rz_batch_out, temperature);
    FIELD(rz_batch_out, top_k);
    FIELD(rz_batch_out, top_p);
    FIELD(rz_batch_out, min_p);
    FIELD(rz_batch_out, typical_p);
    FIELD(rz_batch_out, repetition);
    FIELD(rz_batch_out, presence);
    FIELD(rz_batch_out, frequency);
    FIELD(rz_batch_out, penalty_from);
    FIELD(rz_batch_out, seed_lo);
    FIELD(rz_batch_out, seed_hi);
    FIELD(rz_batch_out, n_top);
    FIELD(rz_batch_out, n_draft);
    FIELD(rz_batch_out, target);
    FIELD(rz_batch_out, bias_first);
    FIELD(rz_batch_out, bias_n);
    FIELD(rz_batch_out, mask);
    FIELD(rz_batch_out, draw_position);
    FIELD(rz_batch_out, reserved);
    STRUCT(rz_batch_bias);
    FIELD(rz_batch_bias, token);
    FIELD(rz_batch_bias, bias);
    STRUCT(rz_result_header);
    FIELD(rz_result_header, ticket);
    FIELD(rz_result_header, status);
    FIELD(rz_result_header, n_outs);
    FIELD(rz_result_header, flags);
    FIELD(rz_result_header, device_us);
    FIELD(rz_result_header, queue_us);
    FIELD(rz_result_header, n_top_total);
    FIELD(rz_result_header, reserved);
}

static void print_step_2(void) {
    STRUCT(rz_result_out);
    FIELD(rz_result_out, token);
    FIELD(rz_result_out, n_accepted);
    FIELD(rz_result_out, flags);
    FIELD(rz_result_out, logprob);
    FIELD(rz_result_out, top_first);
    FIELD(rz_result_out, n_top);
    FIELD(rz_result_out, position);
    FIELD(rz_result_out, reserved);
    STRUCT(rz_result_top);
    FIELD(rz_result_top, token);
    FIELD(rz_result_top, logprob);
}

static void print_enums(void) {
    ENUM(RZ_OK);
    ENUM(RZ_E_TRUNCATED);
    ENUM(RZ_E_MAGIC);
    ENUM(RZ_E_VERSION);
    ENUM(RZ_E_LIMIT);
    ENUM(RZ_E_OVERFLOW);
    ENUM(RZ_E_TYPE);
    ENUM(RZ_E_DUPLICATE);
    ENUM(RZ_E_ALIGN);
    ENUM(RZ_E_OFFSET);
    ENUM(RZ_E_SHAPE);
    ENUM(RZ_E_KEY_MISSING);
    ENUM(RZ_E_UNSUPPORTED);
    ENUM(RZ_E_VOCAB);
    ENUM(RZ_E_TEMPLATE);
    ENUM(RZ_E_ARG);
    ENUM(RZ_E_HANDLE);
    ENUM(RZ_E_OOM_HOST);
    ENUM(RZ_E_OOM_DEVICE);
    ENUM(RZ_E_DEVICE);
    ENUM(RZ_E_DEVICE_LOST);
    ENUM(RZ_E_CANCELLED);
    ENUM(RZ_E_BUSY);
    ENUM(RZ_E_CLOSED);
    ENUM(RZ_E_FORKED);
    ENUM(RZ_E_IO);
    ENUM(RZ_E_INTERNAL);
    ENUM(RZ_BACKEND_REF);
    ENUM(RZ_BACKEND_CPU);
    ENUM(RZ_BACKEND_CUDA);
    ENUM(RZ_ISA_AUTO);
    ENUM(RZ_ISA_BASE);
    ENUM(RZ_ISA_AVX2);
    ENUM(RZ_ISA_AVX512);
    ENUM(RZ_ISA_DOTPROD);
    ENUM(RZ_ISA_I8MM);
    ENUM(RZ_ISA_PTX);
    ENUM(RZ_ROWS_T);
    ENUM(RZ_ROWS_R);
    ENUM(RZ_ROWS_S);
    ENUM(RZ_ROWS_TK);
}

static void print_numbers(void) {
    ENUM(RZ_ABI_VERSION);
    ENUM(RZ_USE_ROWS);
    ENUM(RZ_USE_MATMUL);
    ENUM(RZ_USE_MOE);
    ENUM(RZ_USE_VECTOR);
    ENUM(RZ_FILE_NONE);
    ENUM(RZ_VALUE_OUTPUT);
    ENUM(RZ_VALUE_WATCHED);
    ENUM(RZ_LAYER_NONE);
    ENUM(RZ_PLAN_DETERMINISTIC);
    ENUM(RZ_PLAN_PROFILE);
    ENUM(RZ_PLAN_NO_FUSION);
    ENUM(RZ_BATCH_MAGIC);
    ENUM(RZ_BATCH_HOLD_SAMPLE);
    ENUM(RZ_OUT_SAMPLE);
    ENUM(RZ_OUT_LOGITS);
    ENUM(RZ_OUT_TARGET);
    ENUM(RZ_OUT_HIDDEN);
    ENUM(RZ_RESULT_NONFINITE);
    ENUM(RZ_RESULT_EMPTY_MASK);
    ENUM(RZ_RESULT_NO_INPUT);
    ENUM(RZ_F32);
    ENUM(RZ_F16);
    ENUM(RZ_Q4_0);
    ENUM(RZ_Q4_1);
    ENUM(RZ_Q5_0);
    ENUM(RZ_Q5_1);
    ENUM(RZ_Q8_0);
    ENUM(RZ_Q2_K);
    ENUM(RZ_Q3_K);
    ENUM(RZ_Q4_K);
    ENUM(RZ_Q5_K);
    ENUM(RZ_Q6_K);
    ENUM(RZ_IQ4_NL);
    ENUM(RZ_IQ4_XS);
    ENUM(RZ_I32);
    ENUM(RZ_BF16);
#define OP(name, code, text) ENUM(RZ_OP_##name);
    RZ_OPS(OP)
#undef OP
}

int main(void) {
    print_objects();
    print_plan_1();
    print_plan_2();
    print_step_1();
    print_step_2();
    print_enums();
    print_numbers();
    return 0;
}
