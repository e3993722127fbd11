/* mem.conv: one to three spatial dimensions, groups, strides, dilations, any
 * padding, weights that are constants or an operand; and packed weights, of
 * minimal filtering or with zeros, with results that lie in any way. */
#include <string.h>

#include "test/fuzz/fuzz.h"

typedef struct conv {
  int spatial;
  int64_t group, kernel[3], stride[3], dilation[3], low[3];
  fuzz_dim n, c, o, in[3], out[3];
  fuzz_view x, y, w;
  const fuzz_constant *fixed; /* the weights, or NULL: w */
  bool winograd;              /* they are transformed */
  bool sparse;                /* they are packed with their zeros' places */
  bool bytes;                 /* they and x are bytes */
  int64_t fill;               /* of padding */
  fuzz_epilogue e;
} conv;

static void draw_window(fuzz_case *c, conv *v, int i) {
  static const int64_t kernels[] = {1, 1, 2, 3, 3, 5};
  v->kernel[i] = kernels[fuzz_below(c, 6)];
  v->stride[i] = fuzz_chance(c, 0.6) ? 1 : 1 + fuzz_below(c, 3);
  v->dilation[i] = fuzz_chance(c, 0.7) ? 1 : 1 + fuzz_below(c, 2);
  int64_t reach = (v->kernel[i] - 1) * v->dilation[i];
  v->low[i] = fuzz_chance(c, 0.5) ? v->kernel[i] / 2 : fuzz_below(c, reach + 2);
  int64_t high = fuzz_chance(c, 0.5) ? v->low[i] : fuzz_below(c, reach + 2);
  int64_t in = fuzz_size(c, v->spatial == 1 ? 200 : v->spatial == 2 ? 40 : 9);
  if (in + v->low[i] + high <= reach) in = reach + 1;
  v->in[i] = fuzz_maybe_symbol(c, in, 0.15);
  v->out[i] =
      fuzz_number((in + v->low[i] + high - reach - 1) / v->stride[i] + 1);
  prn_strbuf_fmt(&c->note, " %lld*k%lld/%lld~%lld+%lld+%lld", (long long)in,
                 (long long)v->kernel[i], (long long)v->stride[i],
                 (long long)v->dilation[i], (long long)v->low[i],
                 (long long)high);
}

/* A third is 1x1, a third depthwise. */
static void draw_sizes(fuzz_case *c, conv *v) {
  v->spatial = fuzz_chance(c, 0.7) ? 2 : fuzz_chance(c, 0.6) ? 1 : 3;
  for (int i = 0; i < v->spatial; i++)
    draw_window(c, v, i);
  if (fuzz_chance(c, 0.25))
    for (int i = 0; i < v->spatial; i++) {
      v->kernel[i] = v->stride[i] = v->dilation[i] = 1;
      v->low[i] = 0;
      v->out[i] = v->in[i];
    }
  int64_t in = fuzz_size(c, 40), out = fuzz_size(c, 40);
  v->group = 1;
  if (fuzz_chance(c, 0.3)) {
    v->group = in;
    out = in * (fuzz_chance(c, 0.7) ? 1 : 2);
  } else if (fuzz_chance(c, 0.2)) {
    v->group = 1 + fuzz_below(c, 3);
    in *= v->group;
    out *= v->group;
  }
  v->n = fuzz_maybe_symbol(c, 1 + fuzz_below(c, 2), 0.3);
  v->c = fuzz_number(in);
  v->o = fuzz_number(out);
  prn_strbuf_fmt(&c->note, " n%s c%lld o%lld g%lld", v->n.text, (long long)in,
                 (long long)out, (long long)v->group);
}

/* What ir/pack/winograd.h takes: sometimes wide, sometimes with more output
 * channels than one item computes. */
static void draw_winograd(fuzz_case *c, conv *v) {
  bool wide = fuzz_chance(c, 0.15), deep = !wide && fuzz_chance(c, 0.15);
  v->winograd = true;
  c->limit = 5e-6; /* most have 1e-6, a single weight up to 3.5e-6 */
  v->spatial = 2;
  v->group = 1;
  for (int i = 0; i < 2; i++) {
    int64_t most = i == 0 ? (wide || deep ? 9 : 40) : wide ? 330 : 40;
    int64_t in = fuzz_size(c, most);
    v->kernel[i] = 3;
    v->stride[i] = v->dilation[i] = 1;
    v->low[i] = fuzz_chance(c, 0.6) ? 1 : fuzz_below(c, 4);
    int64_t high = fuzz_chance(c, 0.6) ? v->low[i] : fuzz_below(c, 4);
    if (in + v->low[i] + high < 3) in = 3;
    v->in[i] = fuzz_number(in);
    v->out[i] = fuzz_number(in + v->low[i] + high - 2);
    prn_strbuf_fmt(&c->note, " %lld+%lld+%lld", (long long)in,
                   (long long)v->low[i], (long long)high);
  }
  v->n = fuzz_maybe_symbol(c, 1 + fuzz_below(c, 3), 0.3);
  v->c = fuzz_number(fuzz_size(c, wide ? 5 : deep ? 250 : 40));
  v->o = fuzz_number(fuzz_size(c, wide ? 5 : deep ? 130 : 40));
  prn_strbuf_fmt(&c->note, " n%s c%s o%s", v->n.text, v->c.text, v->o.text);
}

static void winograd_text(fuzz_case *c, const conv *v) {
  static const int64_t groups[] = {1, 4, 6, 16, 24};
  int64_t group = groups[fuzz_below(c, 5)], tile = 2 + 2 * fuzz_below(c, 2);
  int64_t nr = group * (1 + fuzz_below(c, fuzz_chance(c, 0.5) ? 3 : 12));
  prn_strbuf_fmt(&c->note, " winograd %lld/%lld/%lld", (long long)tile,
                 (long long)group, (long long)nr);
  prn_strbuf_fmt(
      &c->ops,
      "    %%w = mem.constant {value = dense<0.0> : "
      "tensor<%sx%sx3x3xf32>, pack = \"winograd\", stored = \"nk\", "
      "nr = %lld, group = %lld, tile = %lld} : view<%lldx%sxf32, strides "
      "[%s, 1], offset 0>\n",
      v->o.text, v->c.text, (long long)nr, (long long)group, (long long)tile,
      (long long)(9 * v->c.n), v->o.text, v->o.text);
}

/* What the formats for zeros take: one group, known sizes. */
static void draw_sparse(fuzz_case *c, conv *v) {
  v->sparse = true;
  v->bytes = fuzz_chance(c, 0.4);
  if (v->bytes) {
    v->fill = fuzz_below(c, 256);
    c->limit = 1e-6; /* sums are exact */
  }
  v->spatial = fuzz_chance(c, 0.8) ? 2 : 1;
  for (int i = 0; i < v->spatial; i++) {
    draw_window(c, v, i);
    v->in[i] = fuzz_number(v->in[i].n);
  }
  v->group = 1;
  v->n = fuzz_maybe_symbol(c, 1 + fuzz_below(c, 2), 0.3);
  v->c = fuzz_number(fuzz_size(c, 40));
  v->o = fuzz_number(fuzz_size(c, 60));
  prn_strbuf_fmt(&c->note, " n%s c%s o%s", v->n.text, v->c.text, v->o.text);
}

static void sparse_text(fuzz_case *c, const conv *v) {
  bool blocks = fuzz_chance(c, 0.4);
  const char *type = v->bytes ? "i8" : "f32";
  const char *pack = v->bytes && fuzz_chance(c, 0.4) ? "rows4"
                     : blocks                        ? "blocks"
                                                     : "srt";
  int64_t taps = v->kernel[0] * (v->spatial == 2 ? v->kernel[1] : 1);
  int64_t group =
      blocks ? (int64_t)4 << fuzz_below(c, 3) : 1 + fuzz_below(c, 4);
  int64_t channels = 1 + fuzz_below(c, (blocks ? 512 : 256) / taps);
  int64_t rows = (v->o.n + group - 1) / group * group;
  prn_strbuf_fmt(&c->note, " %s %s %lld/%lld", pack, type, (long long)group,
                 (long long)(channels * taps));
  prn_strbuf_fmt(&c->ops,
                 "    %%w = mem.constant {value = dense<%s> : tensor<%sx%s",
                 v->bytes ? "0" : "0.0", v->o.text, v->c.text);
  for (int i = 0; i < v->spatial; i++)
    prn_strbuf_fmt(&c->ops, "x%lld", (long long)v->kernel[i]);
  prn_strbuf_fmt(&c->ops,
                 "x%s>, pack = \"%s\", stored = \"nk\", nr = %lld, group = "
                 "%lld, depth = %lld, vectors = %lld} : view<%lldx%sx%s, "
                 "strides [%s, 1], offset 0>\n",
                 type, pack, (long long)rows, (long long)group,
                 (long long)(channels * taps), (long long)fuzz_below(c, 5),
                 (long long)(taps * v->c.n), v->o.text, type, v->o.text);
}

static void draw_weights(fuzz_case *c, conv *v) {
  int64_t dims[5] = {v->o.n, v->c.n / v->group};
  fuzz_dim sizes[5];
  int rank = v->spatial + 2;
  memcpy(dims + 2, v->kernel, sizeof v->kernel);
  for (int i = 0; i < rank; i++)
    sizes[i] = fuzz_number(dims[i]);
  if (v->winograd || v->sparse) {
    fuzz_constant *w = fuzz_weights(c, rank, dims);
    v->fixed = w;
    if (v->bytes) {
      fuzz_weights_to_bytes(w);
      w->dtype = PRN_I8;
    }
    (v->winograd ? winograd_text : sparse_text)(c, v);
    return;
  }
  if (fuzz_chance(c, 0.2)) {
    v->w = fuzz_operand(c, rank, sizes, FUZZ_ANY, 0);
    return;
  }
  v->fixed = fuzz_weights(c, rank, dims);
  prn_strbuf shape = {0}, strides = {0};
  int64_t step = v->fixed->count;
  for (int i = 0; i < rank; i++) {
    step /= dims[i];
    prn_strbuf_fmt(&shape, "%lldx", (long long)dims[i]);
    prn_strbuf_fmt(&strides, "%s%lld", i ? ", " : "", (long long)step);
  }
  prn_strbuf_fmt(&c->ops,
                 "    %%w = mem.constant {value = dense<0.0> : tensor<%sf32>} "
                 ": view<%sf32, strides [%s], offset 0>\n",
                 shape.data, shape.data, strides.data);
  prn_strbuf_destroy(&shape);
  prn_strbuf_destroy(&strides);
}

static void list(fuzz_case *c, const char *name, const int64_t *v, int n,
                 bool dims) {
  prn_strbuf_fmt(&c->ops, "%s = %s[", name, dims ? "list" : "");
  for (int i = 0; i < n; i++)
    prn_strbuf_fmt(&c->ops, dims ? "%sdim<%lld>" : "%s%lld", i ? ", " : "",
                   (long long)v[i]);
  prn_strbuf_cstr(&c->ops, "], ");
}

static double weight(const fuzz_case *c, const conv *v, const int64_t *at) {
  int64_t flat = 0;
  if (!v->fixed) return fuzz_get(c, &v->w, at);
  for (int i = 0; i < v->fixed->rank; i++)
    flat = flat * v->fixed->dims[i] + at[i];
  return fuzz_weight(v->fixed, flat);
}

/* The sum over channels and taps for one result. */
static double sum(const fuzz_case *c, const conv *v, const int64_t *index) {
  int64_t per = v->c.n / v->group;
  int64_t at[FUZZ_RANK] = {0}, tap[FUZZ_RANK] = {index[1]};
  fuzz_dim taps[4] = {fuzz_number(per)};
  double r = 0;
  for (int i = 0; i < v->spatial; i++)
    taps[1 + i] = fuzz_number(v->kernel[i]);
  do {
    bool inside = true;
    at[0] = index[0];
    at[1] = index[1] / (v->o.n / v->group) * per + tap[1];
    for (int i = 0; i < v->spatial; i++) {
      at[2 + i] =
          index[2 + i] * v->stride[i] - v->low[i] + tap[2 + i] * v->dilation[i];
      inside &= at[2 + i] >= 0 && at[2 + i] < v->in[i].n;
    }
    r +=
        (inside ? fuzz_get(c, &v->x, at) : (double)v->fill) * weight(c, v, tap);
  } while (fuzz_next(v->spatial + 1, taps, tap + 1));
  return r;
}

void fuzz_conv(fuzz_case *c) {
  conv v = {0};
  if (fuzz_chance(c, 0.3))
    draw_winograd(c, &v);
  else if (fuzz_chance(c, 0.4))
    draw_sparse(c, &v);
  else
    draw_sizes(c, &v);
  fuzz_dim dims[5] = {v.n, v.c};
  int rank = v.spatial + 2;
  memcpy(dims + 2, v.in, sizeof v.in);
  bool unit = v.winograd || fuzz_chance(c, 0.7);
  v.x = fuzz_operand(c, rank, dims, unit ? FUZZ_UNIT : FUZZ_ANY, 0);
  draw_weights(c, &v);
  dims[1] = v.o;
  memcpy(dims + 2, v.out, sizeof v.out);
  int merged = v.winograd ? 0 : v.spatial;
  unsigned layout = FUZZ_OUTPUT | (v.winograd ? FUZZ_UNIT : FUZZ_ANY);
  v.y = fuzz_operand_merged(c, rank, dims, layout, 0, merged);
  fuzz_epilogue_draw(c, &v.e, rank, dims, merged);
  v.e.integer = v.bytes;
  if (v.bytes) fuzz_to_bytes(c, &v.x);
  prn_strbuf_fmt(&c->ops, "    mem.conv(%s, %s, %s", v.bytes ? "%q" : v.x.name,
                 v.fixed ? "%w" : v.w.name, v.y.name);
  fuzz_epilogue_operands(c, &v.e);
  prn_strbuf_cstr(&c->ops, ") {");
  list(c, "strides", v.stride, v.spatial, false);
  list(c, "dilations", v.dilation, v.spatial, false);
  list(c, "pads", v.low, v.spatial, true);
  if (v.winograd || v.sparse) list(c, "kernel", v.kernel, v.spatial, false);
  if (v.fill) prn_strbuf_fmt(&c->ops, "fill = %lld, ", (long long)v.fill);
  prn_strbuf_fmt(&c->ops, "group = %lld", (long long)v.group);
  fuzz_epilogue_body(c, &v.e);
  int64_t index[FUZZ_RANK] = {0};
  do
    fuzz_want(c, &v.y, index,
              fuzz_epilogue_apply(c, &v.e, index, sum(c, &v, index)));
  while (fuzz_next(rank, dims, index));
}
