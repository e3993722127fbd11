/* Modules of one product; see product.h. */
#include "tools/product.h"

#include <string.h>

#include "ir/support/philox.h"
#include "passes/lower/nn_build.h"
#include "passes/lower/nn_to_mem.h"

enum { MAX_INPUTS = 64 };

/* A function under construction. */
typedef struct func {
  prn_nn b;
  prn_op *op;
  prn_str names[MAX_INPUTS];
} func;

static func begin(prn_ctx *ctx) {
  func f = {.b = {.m = prn_module_create(ctx), .ctx = ctx}};
  f.b.block = prn_block_create(f.b.m);
  f.op = prn_op_create(f.b.m, prn_opname_code(ctx, PRN_OP_nn_func),
                       (prn_loc){0}, NULL, 0, NULL, 0);
  prn_op_add_block(f.op, f.b.block);
  prn_op_set_attr(f.op, "body", prn_attr_region(ctx, 0));
  prn_block_append(f.b.m->body, f.op);
  return f;
}

static prn_value *input(func *f, const prn_type *type) {
  prn_strbuf name = {0};
  uint32_t i = f->b.block->num_args;
  prn_strbuf_fmt(&name, "x%u", (unsigned)i);
  f->names[i] = prn_intern(f->b.ctx, prn_strbuf_view(&name));
  prn_strbuf_destroy(&name);
  return prn_block_add_arg(f->b.block, prn_nn_plain(f->b.ctx, type),
                           f->names[i]);
}

static prn_module *end(func *f, prn_value *result) {
  prn_str y = PRN_STR("y");
  prn_op *r = prn_op_create(f->b.m, prn_opname_code(f->b.ctx, PRN_OP_nn_return),
                            (prn_loc){0}, &result, 1, NULL, 0);
  prn_block_append(f->b.block, r);
  prn_op_set_attr(f->op, "input_names",
                  prn_attr_strings(f->b.ctx, f->names, f->b.block->num_args));
  prn_op_set_attr(f->op, "output_names", prn_attr_strings(f->b.ctx, &y, 1));
  return f->b.m;
}

/* ---- one of a model ---- */

static bool is_static(const prn_type *t) {
  int64_t n;
  return prn_type_is_static(t) && prn_type_count(t, &n) && n > 0;
}

bool prn_product_is_static(const prn_op *op) {
  bool all = is_static(prn_op_result(op, 0)->type);
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = prn_op_operand(op, i);
    all = all && (!v || is_static(v->type));
  }
  return all && op->num_operands < MAX_INPUTS;
}

/* A constant, or a transposed one. */
static bool is_constant(const prn_value *v) {
  if (prn_value_constant(v)) return true;
  return v->def && prn_op_is(v->def, PRN_OP_nn_transpose) &&
         prn_value_constant(prn_op_operand(v->def, 0));
}

static void copy_constant(func *f, const prn_value *v, prn_ptrmap *map) {
  const prn_value *from = prn_value_constant(v) ? v : prn_op_operand(v->def, 0);
  prn_block_append(f->b.block, prn_op_clone(f->b.m, from->def, map));
  if (from != v)
    prn_block_append(f->b.block, prn_op_clone(f->b.m, v->def, map));
}

/* An image whose channels lie as the results of a convolution do, an odd
 * number of cache lines apart: a slice of one with longer rows. */
static prn_value *pitched(func *f, const prn_type *type) {
  prn_ctx *ctx = f->b.ctx;
  prn_dim zero = prn_dim_const(ctx, 0), lows[3] = {zero, zero, zero};
  prn_dim pixels = prn_dim_const(ctx, 1);
  for (int32_t i = 2; i < type->rank; i++)
    pixels = prn_dim_mul(ctx, pixels, type->dims[i]);
  prn_dim dims[3] = {type->dims[0], type->dims[1], pixels};
  prn_value *x = prn_nn_reshape_dims(&f->b, input(f, type), 3, dims);
  dims[2] = prn_to_mem_pitch(ctx, pixels);
  prn_value *fill = prn_nn_scalar(&f->b, type->dtype, 0);
  x = prn_nn_pad(&f->b, x, fill, prn_nn_type(ctx, type, 3, dims), lows,
                 "constant");
  x = prn_nn_slice_axis(&f->b, x, 2, zero, pixels);
  return prn_nn_reshape(&f->b, x, prn_nn_plain(ctx, type));
}

static prn_value *operand(func *f, const prn_op *op, uint32_t i) {
  const prn_type *t = prn_op_operand(op, i)->type;
  bool image = i == 0 && prn_op_is(op, PRN_OP_nn_conv);
  return image ? pitched(f, t) : input(f, t);
}

prn_module *prn_product_alone(const prn_op *op, prn_op **product) {
  prn_ptrmap map = {0};
  func f = begin(op->module->ctx);
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = prn_op_operand(op, i);
    if (!v || prn_ptrmap_has(&map, v)) continue;
    if (is_constant(v))
      copy_constant(&f, v, &map);
    else
      *prn_ptrmap_slot(&map, v) = operand(&f, op, i);
  }
  *product = prn_op_clone(f.b.m, op, &map);
  prn_ptrmap_destroy(&map);
  prn_block_append(f.b.block, *product);
  prn_value *r = prn_op_result(*product, 0);
  /* What the function returns would be written without a pitch. */
  if (prn_op_is(op, PRN_OP_nn_conv) && r->type->dtype == PRN_F32)
    r = prn_nn_unary(&f.b, PRN_SCALAR_neg, r);
  return end(&f, r);
}

/* ---- one made up ---- */

/* Numbers of a generator. */
typedef struct stream {
  uint64_t at;
  uint32_t words[256];
} stream;

/* In [0, 1). */
static double uniform(stream *s) {
  size_t i = s->at % PRN_COUNT(s->words);
  if (i == 0) prn_philox_words(0, 0, s->at, PRN_COUNT(s->words), s->words);
  s->at++;
  return s->words[i] * 0x1p-32;
}

static float value(stream *s, prn_dtype t) {
  double v = uniform(s);
  return t == PRN_I8 ? (float)(int)(1 + v * 100) : (float)(v + 0.01);
}

static void fill_row(stream *s, const prn_product_spec *p, int64_t k,
                     const float *above, float *row) {
  const prn_product_zeros *z = &p->zeros;
  int64_t left = 0;
  for (int64_t i = 0; i < k; i++) {
    bool keep;
    if (z->keep) { /* of what is left of the group, so many */
      int64_t in = i % z->of;
      if (in == 0) left = z->keep;
      keep = uniform(s) * (double)(z->of - in) < (double)left;
      left -= keep ? 1 : 0;
    } else {
      keep = above ? above[i] != 0 : uniform(s) >= z->zeros;
    }
    row[i] = keep ? value(s, p->dtype) : 0;
  }
}

static const prn_tensor *weights(prn_ctx *ctx, const prn_product_spec *p,
                                 const prn_type *type) {
  int64_t taps = p->window ? p->window * p->window : 1, k = p->k * taps;
  int64_t block = p->zeros.block > 1 ? p->zeros.block : 1;
  size_t n = prn_array_size((size_t)p->n, (size_t)k);
  float *w = prn_alloc(prn_array_size(n, sizeof *w));
  stream s = {0};
  for (int64_t r = 0; r < p->n; r++)
    fill_row(&s, p, k, r % block ? w + (r - 1) * k : NULL, w + r * k);
  if (p->dtype == PRN_I8) /* in place */
    for (size_t i = 0; i < n; i++)
      ((signed char *)w)[i] = (signed char)w[i];
  const prn_tensor *t = prn_tensor_from_data(ctx, type, w);
  prn_free(w);
  return t;
}

static prn_op *make_conv(func *f, const prn_product_spec *p) {
  prn_ctx *ctx = f->b.ctx;
  const int64_t x[4] = {1, p->k, p->height, p->width},
                y[4] = {1, p->n, p->height, p->width},
                w[4] = {p->n, p->k, p->window, p->window}, ones[2] = {1, 1};
  prn_dim pad = prn_dim_const(ctx, p->window / 2), pads[2] = {pad, pad};
  const prn_type *type = prn_type_static(ctx, PRN_F32, 4, w),
                 *result = prn_type_static(ctx, PRN_F32, 4, y);
  prn_value *in[2] = {input(f, prn_type_static(ctx, PRN_F32, 4, x)),
                      prn_nn_constant(&f->b, weights(ctx, p, type))};
  prn_op *op = prn_nn_make_op(&f->b, PRN_OP_nn_conv, in, 2, &result, 1);
  prn_op_set_attr(op, "strides", prn_attr_ints(ctx, ones, 2));
  prn_op_set_attr(op, "dilations", prn_attr_ints(ctx, ones, 2));
  prn_op_set_attr(op, "pads", prn_nn_dim_list(ctx, pads, 2));
  prn_op_set_attr(op, "group", prn_attr_int(ctx, 1));
  return op;
}

static prn_op *make_matmul(func *f, const prn_product_spec *p) {
  prn_ctx *ctx = f->b.ctx;
  bool ints = p->dtype == PRN_I8;
  const int64_t x[2] = {p->m, p->k}, w[2] = {p->n, p->k}, y[2] = {p->m, p->n},
                turned[2] = {1, 0};
  const prn_type *type = prn_type_static(ctx, p->dtype, 2, w),
                 *result = prn_type_static(ctx, ints ? PRN_I32 : PRN_F32, 2, y);
  prn_value *in[2] = {
      input(f, prn_type_static(ctx, ints ? PRN_U8 : PRN_F32, 2, x)),
      prn_nn_constant(&f->b, weights(ctx, p, type))};
  const int64_t kn[2] = {p->k, p->n};
  prn_value *t = in[1];
  in[1] = prn_nn_make(&f->b, PRN_OP_nn_transpose, &t, 1,
                      prn_type_static(ctx, p->dtype, 2, kn));
  prn_op_set_attr(in[1]->def, "perm", prn_attr_ints(ctx, turned, 2));
  return prn_nn_make_op(&f->b, PRN_OP_nn_matmul, in, 2, &result, 1);
}

prn_op *prn_product_make(prn_ctx *ctx, const prn_product_spec *p) {
  func f = begin(ctx);
  prn_op *op = p->window ? make_conv(&f, p) : make_matmul(&f, p);
  if (p->precision)
    prn_op_set_attr(op, "precision",
                    prn_attr_string(ctx, prn_str_from(p->precision)));
  (void)end(&f, prn_op_result(op, 0));
  return op;
}
