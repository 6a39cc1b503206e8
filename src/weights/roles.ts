/** What an architecture asks of a file's tensors: one spec for each weight, in the GGUF names of the field. */
import { type DTypeName, DTYPES } from "../dtype.ts";

/** Rows are looked up by id (`RZ_USE_ROWS`). Uses are bits: a tied embedding is `USE_ROWS | USE_MATMUL`. */
export const USE_ROWS = 1;
/** A matrix applied to rows of activations (`RZ_USE_MATMUL`). */
export const USE_MATMUL = 2;
/** `nExperts` such matrices, one after another (`RZ_USE_MOE`). */
export const USE_MOE = 4;
/** One row: norm weights, biases (`RZ_USE_VECTOR`). */
export const USE_VECTOR = 8;
/** Read by TypeScript when the plan is built (`rope_freqs`); gets no weight id and is never handed to C. */
export const USE_HOST = 16;

/** Types that vectors may have: they are kept as F32, so only types that are floats already. */
export const VECTOR_DTYPES: readonly DTypeName[] = ["F32", "F16", "BF16"];
/** Types that matrices may have: all. */
export const MATRIX_DTYPES: readonly DTypeName[] = DTYPES.map((row) => row.name);

/** One tensor that an architecture knows. */
export interface RoleSpec {
  /** Name within its layer, e.g. `attn_q`, `attn_q.bias`, `ffn_down`, `token_embd`; unique within the layer. */
  readonly role: string;
  /** 0 ... nLayers - 1, or null for tensors outside the layers. */
  readonly layer: number | null;
  /** Exact name in the file, e.g. `blk.3.attn_q.weight`. */
  readonly tensor: string;
  /** Output dimension; 1 for vectors. In ggml's order the file says `[cols, rows]` (`[cols]` for vectors). */
  readonly rows: number;
  /** Input dimension: the length of a row. */
  readonly cols: number;
  /** Matrices one after another, with `USE_MOE`; the file says `[cols, rows, nExperts]`. Default 1. */
  readonly nExperts?: number;
  /** `USE_*` bits. */
  readonly use: number;
  /** Allowed types; default {@linkcode VECTOR_DTYPES} for vectors and host tensors, else {@linkcode MATRIX_DTYPES}. */
  readonly dtypes?: readonly DTypeName[];
  /** The file may lack it. */
  readonly optional?: boolean;
  /** When the file lacks it, this global role's weight serves too, with its own type (`output` → `token_embd`). */
  readonly tiedTo?: string;
  /** A tensor that some files carry and that changes nothing: allowed to be there, whatever it is, and not bound. */
  readonly ignored?: boolean;
}

/** The types a spec allows. */
export function allowedDTypes(spec: RoleSpec): readonly DTypeName[] {
  return spec.dtypes ?? ((spec.use & (USE_VECTOR | USE_HOST)) !== 0 ? VECTOR_DTYPES : MATRIX_DTYPES);
}
