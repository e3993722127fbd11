/* Before lowering: nodes of com.microsoft that stand for several of ONNX's
 * become those. What does not fit is left, and reported where it is lowered. */
#include <string.h>

#include "passes/lower/onnx_to_nn.h"
#include "passes/transform/build.h"

/* ---- products of bytes ---- */

static prn_value *to_float(prn_op *at, prn_value *v) {
  prn_value *r = prn_build_node(at, PRN_OP_onnx_Cast, &v, 1);
  prn_op_set_attr(r->def, "to", prn_attr_int(at->module->ctx, PRN_F32));
  return r;
}

static prn_value *binary(prn_op *at, prn_opcode code, prn_value *a,
                         prn_value *b) {
  prn_value *in[2] = {a, b};
  return prn_build_node(at, code, in, 2);
}

static void replace(prn_op *op, prn_value *v) {
  if (op->results[0].name.size) v->name = op->results[0].name;
  prn_value_replace_uses(prn_op_result(op, 0), v);
  prn_op_erase(op);
}

/* (a - a_zero)(b - b_zero) a_scale b_scale + bias; scales of b and its zero
 * points are numbers, or have one for each column. */
static void scaled_product(prn_op *op, prn_value *const bytes[4],
                           prn_value *a_scale, prn_value *b_scale,
                           prn_value *bias) {
  prn_value *sum =
      to_float(op, prn_build_node(op, PRN_OP_onnx_MatMulInteger, bytes, 4));
  prn_value *scale = binary(op, PRN_OP_onnx_Mul, a_scale, b_scale);
  prn_value *y = binary(op, PRN_OP_onnx_Mul, sum, scale);
  if (bias) y = binary(op, PRN_OP_onnx_Add, y, bias);
  replace(op, y);
}

/* A, B, b_scale, b_zero_point, bias */
static prn_status dynamic_matmul(prn_op *op) {
  prn_ctx *ctx = op->module->ctx;
  const prn_type *types[3] = {prn_type_any(ctx), prn_type_any(ctx),
                              prn_type_any(ctx)};
  prn_value *a = prn_op_operand(op, 0);
  prn_op *q = prn_op_create(
      op->module, prn_opname_code(ctx, PRN_OP_onnx_DynamicQuantizeLinear),
      op->loc, &a, 1, types, 3);
  prn_op_insert_before(q, op);
  prn_value *bytes[4] = {prn_op_result(q, 0), prn_op_operand(op, 1),
                         prn_op_result(q, 2), prn_op_operand(op, 3)};
  scaled_product(op, bytes, prn_op_result(q, 1), prn_op_operand(op, 2),
                 prn_op_operand(op, 4));
  return PRN_OK;
}

/* A, B, a_scale, b_scale, a_zero_point, b_zero_point, bias */
static prn_status integer_to_float(prn_op *op) {
  prn_value *bytes[4] = {prn_op_operand(op, 0), prn_op_operand(op, 1),
                         prn_op_operand(op, 4), prn_op_operand(op, 5)};
  scaled_product(op, bytes, prn_op_operand(op, 2), prn_op_operand(op, 3),
                 prn_op_operand(op, 6));
  return PRN_OK;
}

/* ---- weights of few bits ---- */

enum { A, B, SCALES, ZEROS, G_IDX, BIAS };
enum { MAX_BLOCK = 1 << 20 };

typedef struct packed {
  int64_t k, n, block, blocks, bits;
  const prn_tensor *q, *scales, *zeros; /* zeros may be NULL */
} packed;

/* Number i of `bits` bits. */
static int64_t bits_at(const uint8_t *p, int64_t i, int64_t bits) {
  int64_t at = i * bits;
  return p[at / 8] >> (at % 8) & ((1 << bits) - 1);
}

static bool read_packed(const prn_op *op, packed *p) {
  *p = (packed){.k = prn_op_int(op, "K", 0),
                .n = prn_op_int(op, "N", 0),
                .block = prn_op_int(op, "block_size", 0),
                .bits = prn_op_int(op, "bits", 4),
                .q = prn_value_constant(prn_op_operand(op, B)),
                .scales = prn_value_constant(prn_op_operand(op, SCALES))};
  prn_value *zeros = prn_op_operand(op, ZEROS);
  int64_t size, bytes;
  if (zeros) p->zeros = prn_value_constant(zeros);
  if (p->k < 1 || p->n < 1 || p->block < 1 || p->block > MAX_BLOCK ||
      p->k > INT32_MAX || p->n > INT32_MAX || !p->q || !p->scales ||
      (zeros && !p->zeros) || prn_op_operand(op, G_IDX) ||
      prn_op_int(op, "weight_prepacked", 0) ||
      (p->bits != 2 && p->bits != 4 && p->bits != 8) ||
      p->block * p->bits % 8 != 0 || p->scales->type->dtype != PRN_F32)
    return false;
  p->blocks = (p->k - 1) / p->block + 1;
  if (!prn_mul_i64(p->n, p->blocks, &size) ||
      !prn_mul_i64(size, p->block * p->bits / 8, &bytes))
    return false;
  bool fits = p->q->type->dtype == PRN_U8 && prn_tensor_count(p->q) == bytes &&
              prn_tensor_count(p->scales) == size;
  if (!p->zeros || !fits) return fits;
  if (p->zeros->type->dtype == PRN_F32)
    return prn_tensor_count(p->zeros) == size;
  return p->zeros->type->dtype == PRN_U8 &&
         prn_tensor_count(p->zeros) == p->n * ((p->blocks * p->bits + 7) / 8);
}

/* Row n of the packed weight: a column of w[k, n]. */
static void unpack_row(const packed *p, int64_t n, uint8_t *row,
                       uint8_t *zero_row, float *w) {
  int64_t blob = p->block * p->bits / 8, zeros = (p->blocks * p->bits + 7) / 8;
  bool bytes = p->zeros && p->zeros->type->dtype == PRN_U8;
  prn_tensor_read_bytes(p->q, n * p->blocks * blob, p->blocks * blob, row);
  if (bytes) prn_tensor_read_bytes(p->zeros, n * zeros, zeros, zero_row);
  for (int64_t b = 0; b < p->blocks; b++) {
    double scale, zero = (double)(1 << (p->bits - 1));
    prn_tensor_read_f64(p->scales, n * p->blocks + b, 1, &scale);
    if (bytes)
      zero = (double)bits_at(zero_row, b, p->bits);
    else if (p->zeros)
      prn_tensor_read_f64(p->zeros, n * p->blocks + b, 1, &zero);
    for (int64_t i = 0; i < p->block && b * p->block + i < p->k; i++)
      w[(b * p->block + i) * p->n + n] =
          ((float)bits_at(row + b * blob, i, p->bits) - (float)zero) *
          (float)scale;
  }
}

static prn_status few_bits(prn_op *op) {
  prn_ctx *ctx = op->module->ctx;
  packed p;
  const prn_blob *data;
  void *w;
  int64_t count, bytes;
  if (!read_packed(op, &p) || !prn_mul_i64(p.k, p.n, &count) ||
      !prn_mul_i64(count, (int64_t)sizeof(float), &bytes))
    return PRN_OK;
  PRN_TRY(prn_blob_scratch(ctx, (size_t)bytes, &data, &w));
  uint8_t *row = prn_alloc((size_t)(p.blocks * p.block * p.bits / 8 + 1));
  uint8_t *zeros = prn_alloc((size_t)((p.blocks * p.bits + 7) / 8 + 1));
  for (int64_t n = 0; n < p.n; n++)
    unpack_row(&p, n, row, zeros, w);
  prn_free(row);
  prn_free(zeros);
  int64_t dims[2] = {p.k, p.n};
  prn_tensor t = {.type = prn_type_static(ctx, PRN_F32, 2, dims),
                  .data = data,
                  .name = p.q->name};
  prn_value *b = prn_build_node(op, PRN_OP_onnx_initializer, NULL, 0);
  prn_op_set_attr(b->def, "value",
                  prn_attr_tensor(ctx, prn_tensor_clone(ctx, &t)));
  b->type = t.type;
  prn_value *y = binary(op, PRN_OP_onnx_MatMul, prn_op_operand(op, A), b);
  if (prn_op_operand(op, BIAS))
    y = binary(op, PRN_OP_onnx_Add, y, prn_op_operand(op, BIAS));
  replace(op, y);
  return PRN_OK;
}

/* ---- channels that are the last axis ---- */

/* v with the channels behind the batch, or, for `last`, at the end. */
static prn_value *moved(prn_op *at, prn_value *v, uint32_t rank, bool last) {
  int64_t perm[PRN_NN_MAX_RANK] = {0};
  for (uint32_t i = 1; i < rank; i++)
    perm[i] = last ? i % (rank - 1) + 1 : i == 1 ? rank - 1 : i - 1;
  prn_value *r = prn_build_node(at, PRN_OP_onnx_Transpose, &v, 1);
  prn_op_set_attr(r->def, "perm", prn_attr_ints(at->module->ctx, perm, rank));
  return r;
}

/* op as the operator of ONNX that it is but for where its channels are. */
static prn_value *standard(prn_op *op, prn_opcode code, prn_value **in,
                           uint32_t n, uint32_t rank) {
  bool last = prn_op_int(op, "channels_last", 0) != 0;
  if (last) in[0] = moved(op, in[0], rank, false);
  prn_value *y = prn_build_node(op, code, in, n);
  for (uint32_t i = 0; i < op->num_attrs; i++)
    if (!prn_str_is(op->attrs[i].name, "channels_last"))
      prn_op_set_attr(y->def, op->attrs[i].name.data, op->attrs[i].value);
  return last ? moved(op, y, rank, true) : y;
}

/* How many axes x has, by the sizes of a window; 0: too many. */
static uint32_t window_rank(const prn_op *op) {
  size_t n;
  const int64_t *kernel = prn_op_ints(op, "kernel_shape", &n);
  return kernel && n + 2 <= PRN_NN_MAX_RANK ? (uint32_t)n + 2 : 0;
}

/* X, x_scale, x_zero_point, y_scale, y_zero_point. Without zero points the
 * kind of bytes is not known yet. */
static prn_status quantised_pool(prn_op *op) {
  prn_value *in[5];
  uint32_t rank = window_rank(op);
  for (uint32_t i = 0; i < 5; i++)
    in[i] = prn_op_operand(op, i);
  if (rank == 0 || !in[2] || !in[4]) return PRN_OK;
  prn_value *x = prn_build_node(op, PRN_OP_onnx_DequantizeLinear, in, 3);
  in[2] = standard(op, PRN_OP_onnx_AveragePool, &x, 1, rank);
  replace(op, prn_build_node(op, PRN_OP_onnx_QuantizeLinear, in + 2, 3));
  return PRN_OK;
}

/* x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point,
 * B. The weight is stored as ONNX has it. */
static prn_status quantised_conv(prn_op *op) {
  prn_value *in[9];
  for (uint32_t i = 0; i < 9; i++)
    in[i] = prn_op_operand(op, i);
  int32_t rank = in[3] ? in[3]->type->rank : -1;
  if (rank < 3 || rank > PRN_NN_MAX_RANK) return PRN_OK;
  replace(op, standard(op, PRN_OP_onnx_QLinearConv, in, in[8] ? 9 : 8,
                       (uint32_t)rank));
  return PRN_OK;
}

static prn_status last_channels_pool(prn_op *op) {
  prn_value *x = prn_op_operand(op, 0);
  uint32_t rank = window_rank(op);
  if (rank == 0) return PRN_OK;
  prn_op_set_attr(op, "channels_last", prn_attr_int(op->module->ctx, 1));
  replace(op, standard(op, PRN_OP_onnx_MaxPool, &x, 1, rank));
  return PRN_OK;
}

/* ---- the table ---- */

typedef struct row {
  prn_opcode code;
  prn_status (*fn)(prn_op *op);
} row;

static const row rows[] = {
    {PRN_OP_com_microsoft_DynamicQuantizeMatMul, dynamic_matmul},
    {PRN_OP_com_microsoft_MatMulIntegerToFloat, integer_to_float},
    {PRN_OP_com_microsoft_MatMulNBits, few_bits},
    {PRN_OP_com_microsoft_QLinearAveragePool, quantised_pool},
    {PRN_OP_com_microsoft_QLinearConv, quantised_conv},
    {PRN_OP_com_microsoft_NhwcMaxPool, last_channels_pool},
};

static const row *find(prn_opcode code) {
  for (size_t i = 0; i < PRN_COUNT(rows); i++)
    if (rows[i].code == code) return &rows[i];
  return NULL;
}

bool prn_o2n_decomposes(prn_opcode code) { return find(code) != NULL; }

prn_status prn_o2n_decompose(void *user, prn_op *op) {
  (void)user;
  const row *r = find(prn_op_code(op));
  return r ? r->fn(op) : PRN_OK;
}
