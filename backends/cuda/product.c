/* Kernels that sum products: mem.matmul, mem.attention. The templates are in
 * device/prune_gemm.h and its neighbours; what is written here are accessors
 * for the operands, as they lie, and what is done to a sum before it is
 * stored. */
#include "backends/cuda/product.h"

#include "backends/cuda/host/prune_cuda_model.h"

static const struct {
  const char *name;
  prn_cu_tile tile;
} tiles[] = {
#define TILE(name, m, n, threads, shared, blocks) \
  {#name, {m, n, threads, shared, blocks}},
#include "backends/cuda/device/tiles.def"
#undef TILE
};

const prn_cu_tile *prn_cu_tile_of(const char *name) {
  for (size_t i = 0; i < PRN_COUNT(tiles); i++)
    if (prn_str_is(prn_str_from(name), tiles[i].name)) return &tiles[i].tile;
  return NULL;
}

prn_cu_variant *prn_cu_tile_end(prn_cu_text *t, const prn_cu_tile *tile,
                                prn_dim grid_x) {
  prn_cu *c = t->c;
  prn_cu_variant *v = prn_cu_text_end(t, tile->threads, tile->shared, grid_x);
  c->functions[v->kernel].blocks = tile->blocks;
  return v;
}

bool prn_cu_is_half(prn_dtype t) { return t == PRN_F16 || t == PRN_BF16; }
bool prn_cu_is_byte(prn_dtype t) { return t == PRN_U8 || t == PRN_I8; }

/* ---- accessors ---- */

const char *prn_cu_at(prn_cu_text *t, unsigned i, const char *const *lead,
                      const char *row, const char *column) {
  const prn_type *v = prn_op_operand(t->op, i)->type;
  const char *index[PRN_CU_RANK];
  unsigned rank = (unsigned)v->rank;
  for (unsigned k = 0; k + 2 < rank; k++)
    index[k] = lead[k];
  index[rank - 2] = row;
  index[rank - 1] = column;
  return prn_cu_offset(t, rank, v->strides, index);
}

/* The leading dimensions, all operands', of which `b` is the number. */
static void split_lead(prn_cu_text *t, unsigned out, const char **lead) {
  const prn_type *v = prn_op_operand(t->op, out)->type;
  prn_cu_split(t, "b", "b", (unsigned)v->rank - 2, v->dims, lead);
}

const char *prn_cu_element(prn_cu_text *t, unsigned i, const char *offset,
                           prn_dtype as) {
  if (prn_op_operand(t->op, i)->type->dtype == as && prn_cu_is_half(as))
    return prn_cu_str(t->c, "%s[%s]", prn_cu_pointer(t, i), offset);
  const char *v = prn_cu_load(t, i, offset);
  if (prn_cu_is_byte(as)) return v;
  if (!prn_cu_is_half(as)) return prn_cu_str(t->c, "(float)%s", v);
  return prn_cu_str(t->c, "pmk_make<%s>((float)%s)", prn_cu_memory_type(as), v);
}

/* Element (b, first, second) of operand i, whose last two dimensions are
 * these. */
static void accessor(prn_cu_text *t, unsigned i, unsigned out,
                     const char *first, const char *second, prn_dtype as) {
  const char *lead[PRN_CU_RANK];
  prn_cu_open(t, "[&](pmk_i b, pmk_i %s, pmk_i %s) {", first, second);
  split_lead(t, out, lead);
  const char *offset = prn_cu_at(t, i, lead, first, second);
  prn_cu_line(t, "return %s;", prn_cu_element(t, i, offset, as));
  prn_cu_close(t, "},");
}

/* Operands but for weights in a second packing. */
static uint32_t num_views(const prn_op *op) {
  return op->num_operands - (prn_op_int(op, "few", 0) > 0);
}

prn_status prn_cu_epilogue_check(const prn_op *op) {
  if (prn_nest_indices(prn_op_block(op, "body")))
    return prn_op_error(op, "the CUDA backend has no positions in what is done "
                            "to a sum");
  return prn_cu_body_check(op);
}

void prn_cu_epilogue(prn_cu_text *t, unsigned first, const char *sum,
                     const char *const *offsets, unsigned out) {
  const prn_block *body = prn_op_block(t->op, "body");
  const char *args[PRN_CU_VIEWS], *result[1] = {sum};
  uint32_t n = num_views(t->op);
  args[0] = sum;
  for (uint32_t i = first; i < n; i++) {
    args[i - first + 1] = prn_cu_str(t->c, "x%u", i);
    prn_cu_line(t, "const %s x%u = %s;",
                prn_cu_value_type(prn_op_operand(t->op, i)->type->dtype), i,
                prn_cu_load(t, i, offsets[i]));
  }
  if (body) prn_cu_body(t, body, args, NULL, result);
  prn_cu_store(t, out, offsets[out], result[0]);
}

enum { A, B, OUT, EXTRAS };

void prn_cu_store_open(prn_cu_text *t, prn_dtype a) {
  prn_cu_open(t, "[&](pmk_i b, pmk_i i, pmk_i j, %s sum) {",
              prn_cu_sum_type(a));
}

static void epilogue(prn_cu_text *t) {
  const char *lead[PRN_CU_RANK], *offsets[PRN_CU_VIEWS];
  prn_cu_store_open(t, prn_op_operand(t->op, A)->type->dtype);
  split_lead(t, OUT, lead);
  for (uint32_t k = OUT; k < num_views(t->op); k++)
    offsets[k] = prn_cu_at(t, k, lead, "i", "j");
  prn_cu_epilogue(t, EXTRAS, "sum", offsets, OUT);
  prn_cu_close(t, "});");
  t->indent--;
}

/* ---- matmul ---- */

typedef prn_cu_shape shape;

static shape shape_of(prn_cu *c, const prn_op *op) {
  const prn_type *o = prn_op_operand(op, OUT)->type;
  const prn_type *a = prn_op_operand(op, A)->type;
  unsigned r = (unsigned)o->rank;
  return (shape){prn_cu_product(c, r - 2, o->dims), o->dims[r - 2],
                 o->dims[r - 1], a->dims[a->rank - 1]};
}

static const char *gemm_name(prn_dtype a) {
  return a == PRN_F32 ? "gemm_f32" : "gemm_mma";
}

void prn_cu_gemm_open(prn_cu_text *t, prn_dtype a, prn_dtype b,
                      const prn_cu_shape *s) {
  const char *types = prn_cu_str(t->c, "<%s, %s>", prn_cu_memory_type(a),
                                 prn_cu_memory_type(b));
  prn_cu_open(t, "pmk_%s%s(%s, %s, %s, %s,", gemm_name(a),
              a == PRN_F32 ? "" : types, prn_cu_dim(t, s->batch),
              prn_cu_dim(t, s->m), prn_cu_dim(t, s->n), prn_cu_dim(t, s->k));
}

/* Ends a text that calls template `name`, over a grid of tiles. */
static prn_cu_variant *tiles_end(prn_cu_text *t, const shape *s,
                                 const char *name) {
  const prn_cu_tile *tile = prn_cu_tile_of(name);
  prn_cu *c = t->c;
  prn_dim most = prn_dim_const(c->ctx, 65535);
  prn_cu_variant *v = prn_cu_tile_end(t, tile, prn_cu_blocks(c, s->n, tile->n));
  v->grid[1] = prn_dim_min(c->ctx, prn_cu_blocks(c, s->m, tile->m), most);
  v->grid[2] = prn_dim_min(c->ctx, s->batch, most);
  return v;
}

prn_cu_variant *prn_cu_gemm_end(prn_cu_text *t, prn_dtype a,
                                const prn_cu_shape *s) {
  return tiles_end(t, s, gemm_name(a));
}

/* The same, as a way to multiply s->m rows. */
static prn_cu_variant *end(prn_cu_text *t, const shape *s, const char *name) {
  prn_cu_variant *v = tiles_end(t, s, name);
  v->rows = s->m;
  v->why = name;
  return v;
}

bool prn_cu_has_template(prn_dtype a, prn_dtype b) {
  if (prn_cu_is_byte(a)) return prn_cu_is_byte(b);
  if (prn_dtype_is_ofp8(a)) return a == b;
  return (prn_cu_is_half(a) || a == PRN_F32) &&
         (prn_cu_is_half(b) || b == PRN_F32);
}

const char *prn_cu_sum_type(prn_dtype a) {
  return prn_cu_value_type(prn_cu_is_byte(a)   ? PRN_I32
                           : prn_cu_is_half(a) ? PRN_F32
                                               : a);
}

/* Types that there is no template for: a thread for each result. */
static void by_element(prn_cu *c, const prn_op *op) {
  enum { THREADS = 256 };
  prn_cu_text t;
  shape s = shape_of(c, op);
  const prn_type *o = prn_op_operand(op, OUT)->type;
  unsigned rank = (unsigned)o->rank;
  const char *type = prn_cu_sum_type(prn_op_operand(op, A)->type->dtype);
  const char *index[PRN_CU_RANK], *offsets[PRN_CU_VIEWS];
  prn_dim n = prn_cu_product(c, rank, o->dims);
  prn_cu_text_begin(&t, c, op);
  prn_cu_open(&t, "pmk_each<pmk_i>(%s, [&](pmk_i e) {", prn_cu_dim(&t, n));
  prn_cu_split(&t, "e", "i", rank, o->dims, index);
  prn_cu_line(&t, "%s sum = 0;", type);
  prn_cu_open(&t, "for (pmk_i k = 0; k < %s; k++)", prn_cu_dim(&t, s.k));
  const char *a =
      prn_cu_load(&t, A, prn_cu_at(&t, A, index, index[rank - 2], "k"));
  const char *b =
      prn_cu_load(&t, B, prn_cu_at(&t, B, index, "k", index[rank - 1]));
  prn_cu_close(&t, "  sum = prn_add(sum, prn_mul((%s)%s, (%s)%s));", type, a,
               type, b);
  for (uint32_t k = OUT; k < num_views(op); k++)
    offsets[k] = prn_cu_at(&t, k, index, index[rank - 2], index[rank - 1]);
  prn_cu_epilogue(&t, EXTRAS, "sum", offsets, OUT);
  prn_cu_close(&t, "});");
  prn_cu_text_end(&t, THREADS, 0, prn_cu_blocks_some(c, n, THREADS));
}

prn_str prn_cu_packing(const prn_op *op, uint32_t b) {
  const prn_op *w = prn_cu_constant(prn_op_operand(op, b));
  return w ? prn_op_string(w, "pack", "dense") : PRN_STR("dense");
}

/* How constant operand b is packed, or NULL. */
static const char *packing(prn_cu *c, const prn_op *op, uint32_t b) {
  prn_str pack = prn_cu_packing(op, b);
  if (prn_str_is(pack, "dense")) return NULL;
  return prn_cu_str(c, "%.*s", PRN_STR_ARG(pack));
}

/* Element (k, j) of packed weights, which may be stored in another type. */
static void packed_accessor(prn_cu_text *t, const shape *s, const char *pack,
                            prn_dtype as) {
  prn_dtype stored = prn_op_operand(t->op, B)->type->dtype;
  const char *v = prn_cu_str(t->c, "pmk_%s_at<%s>(%s, %s, %s, j, k)", pack,
                             prn_cu_memory_type(stored), prn_cu_pointer(t, B),
                             prn_cu_dim(t, s->n), prn_cu_dim(t, s->k));
  if (stored != as)
    v = prn_cu_is_half(as) ? prn_cu_str(t->c, "pmk_make<%s>(pmk_float(%s))",
                                        prn_cu_memory_type(as), v)
                           : prn_cu_str(t->c, "pmk_float(%s)", v);
  prn_cu_line(t, "[&](pmk_i, pmk_i k, pmk_i j) { return %s; },", v);
}

/* Any layout: operands by accessors. */
static void general(prn_cu *c, const prn_op *op) {
  prn_cu_text t;
  shape s = shape_of(c, op);
  prn_dtype a = prn_op_operand(op, A)->type->dtype;
  prn_dtype b = prn_op_operand(op, B)->type->dtype;
  const char *pack = packing(c, op, B);
  if (prn_dtype_is_ofp8(a)) a = PRN_F16; /* which holds both */
  if (!prn_cu_is_byte(a)) b = a;
  prn_cu_text_begin(&t, c, op);
  prn_cu_gemm_open(&t, a, b, &s);
  accessor(&t, A, OUT, "i", "k", a);
  if (pack)
    packed_accessor(&t, &s, pack, b);
  else
    accessor(&t, B, OUT, "k", "j", b);
  epilogue(&t);
  (void)end(&t, &s, gemm_name(a));
}

/* By a template for packed weights, which are operand b. */
static prn_cu_variant *packed(prn_cu *c, const prn_op *op, uint32_t b,
                              const char *name) {
  prn_cu_text t;
  shape s = shape_of(c, op);
  const prn_type *a = prn_op_operand(op, A)->type;
  prn_cu_text_begin(&t, c, op);
  prn_cu_open(&t, "pmk_%s<%s>(%s, %s, %s, %s, %s, %s,", name,
              prn_cu_memory_type(prn_op_operand(op, b)->type->dtype),
              prn_cu_pointer(&t, A), prn_cu_dim(&t, a->strides[a->rank - 2]),
              prn_cu_pointer(&t, b), prn_cu_dim(&t, s.m), prn_cu_dim(&t, s.n),
              prn_cu_dim(&t, s.k));
  epilogue(&t);
  return end(&t, &s, name);
}

/* One matrix, whose rows lie together. */
static bool is_matrix(prn_cu *c, const prn_op *op) {
  const prn_type *a = prn_op_operand(op, A)->type;
  shape s = shape_of(c, op);
  return prn_dim_is(s.batch, 1) && prn_dim_is(a->strides[a->rank - 1], 1);
}

/* Numbers of rows that something is for; both ends belong to it. */
typedef struct range {
  int64_t from, to;
} range;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* A library that knows nothing to do to sums leaves all of it to a kernel. */
static void leave(prn_cu_gemm *p, bool *after) {
  *after |= p->bias >= 0 || p->residual || p->act != PRUNE_CUDA_NO_ACT;
  p->bias = -1;
  p->residual = 0;
  p->act = PRUNE_CUDA_NO_ACT;
}

/* A variant by a library. */
static void library(prn_cu *c, const prn_op *op, unsigned how, range rows) {
  prn_cu_gemm product;
  bool after;
  if (rows.from > rows.to || !prn_cu_asks_libraries(c) ||
      !prn_cu_library_product(op, &product, &after))
    return;
  if (how == PRUNE_CUDA_CUSPARSE) leave(&product, &after);
  prn_cu_variant *v =
      prn_cu_library_variant(c, op, how, after, OUT, num_views(op));
  prn_cu_step *s = prn_cu_step_for(c, op);
  s->has_product = true;
  s->product = product;
  v->rows = product.m;
  v->min_rows = rows.from;
  v->max_rows = rows.to;
}

/* A variant by a template, if there is one of that name. */
static void by_template(prn_cu *c, const prn_op *op, uint32_t b,
                        const char *name, range rows, int32_t arch) {
  if (rows.from > rows.to || !prn_cu_tile_of(name)) return;
  prn_cu_variant *v = packed(c, op, b, name);
  v->min_rows = rows.from;
  v->max_rows = rows.to;
  v->arch = arch;
}

/* Up to how many rows large tiles are fewer than there are multiprocessors. */
static int64_t small_rows(prn_cu *c, const prn_op *op, const char *name) {
  enum { MULTIPROCESSORS = 132 };
  const prn_cu_tile *t = prn_cu_tile_of(name);
  int64_t n;
  if (!prn_dim_is_const(shape_of(c, op).n, &n)) return 0;
  int64_t across = (n + t->n - 1) / t->n;
  return MULTIPROCESSORS / across * t->m;
}

/* From how many rows on libraries are expected to be faster than our kernels:
 * dense ones always, for 2:4 once reading the weights is not what takes
 * long. */
enum { FEW = 16, SPARSE_LIBRARY = 256 };

/* The kernels for more than a few rows. */
static void kernels_for_many(prn_cu *c, const prn_op *op, uint32_t b,
                             range rows) {
  const char *linear = prn_cu_str(c, "linear_%s", packing(c, op, b));
  const char *small = prn_cu_str(c, "%s_small", linear);
  int64_t most = small_rows(c, op, linear);
  by_template(c, op, b, small, (range){rows.from, smaller(rows.to, most)}, 0);
  if (prn_cu_tile_of(small) && rows.to <= most) return;
  if (!prn_cu_is_byte(prn_op_operand(op, A)->type->dtype))
    by_template(c, op, b, prn_cu_str(c, "%s_sm90", linear), rows, 90);
  by_template(c, op, b, linear, rows, 0);
}

/* All ways to multiply by the weights that are operand b. Libraries and
 * wgmma.sp are not asked for products of bytes. Nobody has timed cuSPARSE
 * against our kernel for blocks: it is what tuning may find. */
static void ways(prn_cu *c, const prn_op *op, uint32_t b, range rows) {
  const char *pack = packing(c, op, b);
  range few = {rows.from, smaller(rows.to, FEW)};
  range many = {larger(rows.from, FEW + 1), rows.to};
  by_template(c, op, b, prn_cu_str(c, "few_%s", pack), few, 0);
  bool libraries = prn_cu_is_half(prn_op_operand(op, A)->type->dtype);
  if (libraries && prn_str_is(PRN_STR("nk"), pack))
    library(c, op, PRUNE_CUDA_CUBLASLT, many);
  if (libraries && prn_str_is(PRN_STR("nm24"), pack))
    library(c, op, PRUNE_CUDA_CUSPARSELT,
            (range){larger(many.from, SPARSE_LIBRARY), many.to});
  kernels_for_many(c, op, b, many);
  if (b == B && libraries && prn_str_is(PRN_STR("bsr"), pack))
    library(c, op, PRUNE_CUDA_CUSPARSE, many);
}

static void emit_matmul(prn_cu *c, const prn_op *op) {
  prn_dtype a = prn_op_operand(op, A)->type->dtype;
  prn_dtype b = prn_op_operand(op, B)->type->dtype;
  if (!prn_cu_has_template(a, b)) {
    by_element(c, op);
    return;
  }
  bool fits = prn_cu_is_half(a) || prn_dtype_is_ofp8(a)
                  ? a == b
                  : a == PRN_U8 && b == PRN_I8;
  if (!packing(c, op, B) || !is_matrix(c, op) || !fits) {
    general(c, op);
    return;
  }
  int64_t m, few = prn_op_int(op, "few", 0);
  range rows = {0, INT64_MAX};
  if (prn_dim_is_const(shape_of(c, op).m, &m)) rows = (range){m, m};
  if (few > 0) {
    ways(c, op, op->num_operands - 1,
         (range){rows.from, smaller(rows.to, few)});
    rows.from = larger(rows.from, few + 1);
  }
  ways(c, op, B, rows);
}

static prn_status check_matmul(const prn_op *op) {
  prn_dtype a = prn_op_operand(op, A)->type->dtype;
  prn_dtype b = prn_op_operand(op, B)->type->dtype;
  if (!prn_cu_has_template(a, b) && !prn_str_is(prn_cu_packing(op, B), "dense"))
    return prn_op_error(op, "the CUDA backend multiplies %s by dense weights",
                        prn_dtype_name(a));
  return prn_cu_epilogue_check(op);
}

const prn_cu_kind prn_cu_matmul = {check_matmul, emit_matmul};

/* ---- attention ---- */

enum { Q, K, V, RESULT, SCORES };

/* Whether rows of operand i can be read eight elements at a time. */
static bool has_chunks(prn_cu *c, const prn_op *op, unsigned i) {
  enum { CHUNK = 8 };
  const prn_type *t = prn_op_operand(op, i)->type;
  unsigned rank = (unsigned)t->rank;
  return prn_cu_is_half(t->dtype) &&
         prn_dim_is_multiple(c->ctx, t->dims[rank - 1], CHUNK) &&
         prn_cu_has_runs(c, rank, t->strides, t->offset, CHUNK);
}

/* An accessor of Q, K or V: addresses of chunks where there are any. */
static void rows_of(prn_cu_text *t, unsigned i, const char *row) {
  const prn_dtype as = prn_op_operand(t->op, Q)->type->dtype;
  const char *lead[PRN_CU_RANK];
  if (!has_chunks(t->c, t->op, i) ||
      prn_op_operand(t->op, i)->type->dtype != as) {
    accessor(t, i, RESULT, row, "e", as);
    return;
  }
  prn_cu_open(t, "[&](pmk_i b, pmk_i %s, pmk_i e) {", row);
  split_lead(t, RESULT, lead);
  const char *offset = prn_cu_at(t, i, lead, row, "e");
  prn_cu_line(t, "return pmk_address(%s);", prn_cu_address(t, i, offset));
  prn_cu_close(t, "},");
}

/* What is done to the score of query i and key j. */
static void score(prn_cu_text *t) {
  const prn_block *body = prn_op_block(t->op, "body");
  const char *lead[PRN_CU_RANK], *args[PRN_CU_VIEWS] = {"s"}, *out[1] = {"s"};
  prn_cu_open(t, "[&](pmk_i b, pmk_i i, pmk_i j, float s) {");
  split_lead(t, RESULT, lead);
  for (uint32_t k = SCORES; k < t->op->num_operands; k++) {
    args[k - SCORES + 1] = prn_cu_str(t->c, "x%u", k);
    prn_cu_line(t, "const %s x%u = %s;",
                prn_cu_value_type(prn_op_operand(t->op, k)->type->dtype), k,
                prn_cu_load(t, k, prn_cu_at(t, k, lead, "i", "j")));
  }
  if (body) {
    const char *position[PRN_CU_RANK];
    unsigned rank = (unsigned)prn_op_operand(t->op, RESULT)->type->rank;
    for (unsigned k = 0; k + 2 < rank; k++)
      position[k] = lead[k];
    position[rank - 2] = "i";
    position[rank - 1] = "j";
    prn_cu_body(t, body, args, position, out);
  }
  prn_cu_line(t, "return (float)%s;", out[0]);
  prn_cu_close(t, "},");
}

static void emit_attention(prn_cu *c, const prn_op *op) {
  prn_cu_text t;
  const prn_type *q = prn_op_operand(op, Q)->type;
  const prn_type *k = prn_op_operand(op, K)->type;
  const prn_type *o = prn_op_operand(op, RESULT)->type;
  unsigned r = (unsigned)o->rank;
  const char *lead[PRN_CU_RANK];
  prn_dim batch = prn_cu_product(c, r - 2, o->dims);
  bool half = prn_cu_is_half(q->dtype);
  prn_cu_attention_library(c, op);
  const prn_cu_tile *tile =
      prn_cu_tile_of(half ? "attention_mma" : "attention_f32");
  prn_cu_text_begin(&t, c, op);
  prn_cu_open(
      &t, "pmk_attention<%s>(%s, %s, %s, %s, %s, %s,",
      prn_cu_memory_type(q->dtype), prn_cu_dim(&t, batch),
      prn_cu_dim(&t, o->dims[r - 2]), prn_cu_dim(&t, k->dims[k->rank - 2]),
      prn_cu_dim(&t, q->dims[q->rank - 1]), prn_cu_dim(&t, o->dims[r - 1]),
      prn_op_int(op, "zero_hidden", 0) ? "true" : "false");
  rows_of(&t, Q, "i");
  rows_of(&t, K, "j");
  rows_of(&t, V, "j");
  score(&t);
  prn_cu_open(&t, "[&](pmk_i b, pmk_i i, pmk_i e, float x) {");
  split_lead(&t, RESULT, lead);
  prn_cu_store(&t, RESULT, prn_cu_at(&t, RESULT, lead, "i", "e"), "x");
  prn_cu_close(&t, "});");
  t.indent--;
  prn_dim one = prn_dim_const(c->ctx, 1);
  prn_cu_variant *v =
      prn_cu_tile_end(&t, tile, prn_cu_blocks(c, o->dims[r - 2], tile->m));
  v->grid[1] = prn_dim_min(c->ctx, batch, prn_dim_const(c->ctx, 65535));
  v->grid[2] = one;
}

static prn_status check_attention(const prn_op *op) {
  prn_dtype t = prn_op_operand(op, Q)->type->dtype;
  if (!prn_cu_is_half(t) && t != PRN_F32)
    return prn_op_error(op, "the CUDA backend does not compute it in %s",
                        prn_dtype_name(t));
  return prn_cu_body_check(op);
}

const prn_cu_kind prn_cu_attention = {check_attention, emit_attention};
