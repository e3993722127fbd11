/* Taking vectors out of samples. */
#include <string.h>

#include "ir/profile_vectors.h"
#include "ir/tensor.h"

prn_status prn_observation_error(prn_diag_sink *sink, const prn_observation *o,
                                 const char *fmt, ...) {
  prn_strbuf b = {0};
  va_list ap;
  va_start(ap, fmt);
  prn_strbuf_vfmt(&b, fmt, ap);
  va_end(ap);
  (void)prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                      "value '%.*s' %s", PRN_STR_ARG(o->value), b.data);
  prn_strbuf_destroy(&b);
  return PRN_FAIL;
}

/* ---- what there is ---- */

/* Places of the output along an axis, and where the first window begins. */
static int64_t outputs_along(const prn_profile_window *w, int32_t i, int64_t in,
                             int64_t *begin) {
  int64_t extent = (w->kernel[i] - 1) * w->dilations[i] + 1, s = w->strides[i];
  if (w->same) {
    int64_t out = in / s + (in % s != 0), pads = (out - 1) * s + extent - in;
    if (pads < 0) pads = 0;
    *begin = w->same == PRN_WINDOW_SAME_LOWER ? pads - pads / 2 : pads / 2;
    return out;
  }
  int64_t room = in + w->pads[i] + w->pads[w->axes + i] - extent;
  *begin = w->pads[i];
  return room < 0 ? 0 : room / s + 1;
}

static prn_status open_window(const prn_observation *o, prn_vectors *v,
                              prn_diag_sink *sink) {
  const prn_profile_window *w = v->window;
  const prn_sample *s = v->sample;
  if (o->axis != 1 || s->rank != w->axes + 2 || v->channels % w->groups != 0)
    return prn_observation_error(
        sink, o,
        "has %d dimensions and %lld channels, which its window does "
        "not fit",
        (int)s->rank, (long long)v->channels);
  v->places = prn_window_places(w);
  v->per_outer = 1;
  for (int32_t i = 0; i < w->axes; i++) {
    v->in[i] = s->dims[2 + i];
    v->out[i] = outputs_along(w, i, v->in[i], &v->begin[i]);
    if (!prn_mul_i64(v->per_outer, v->out[i], &v->per_outer))
      return prn_observation_error(sink, o, "has too many windows");
  }
  return PRN_OK;
}

prn_status prn_vectors_of(const prn_sample *s, const prn_observation *o,
                          prn_vectors *out, prn_diag_sink *sink) {
  int64_t axis = o->axis < 0 ? o->axis + s->rank : o->axis;
  *out = (prn_vectors){.sample = s, .outer = 1, .inner = 1, .places = 1};
  if (!prn_dtype_is_float(s->dtype))
    return prn_observation_error(sink, o, "is of type %s, not of floats",
                                 prn_dtype_name(s->dtype));
  if (axis < 0 || axis >= s->rank)
    return prn_observation_error(sink, o, "has %d dimensions and no axis %d",
                                 (int)s->rank, (int)o->axis);
  for (int32_t i = 0; i < s->rank; i++)
    if (i != axis) *(i < axis ? &out->outer : &out->inner) *= s->dims[i];
  out->channels = s->dims[axis];
  out->per_outer = out->inner;
  if (o->window.axes) {
    out->window = &o->window;
    PRN_TRY(open_window(o, out, sink));
  }
  if (!prn_mul_i64(out->channels, out->places, &out->width) ||
      !prn_mul_i64(out->outer, out->per_outer, &out->count))
    return prn_observation_error(sink, o, "has too many windows");
  if (o->count && o->channels != out->width)
    return prn_observation_error(
        sink, o, "has %lld channels where it had %lld before",
        (long long)out->channels, (long long)(o->channels / out->places));
  return PRN_OK;
}

/* ---- loading ---- */

#define INLINE static inline __attribute__((always_inline))

/* floats: of 32 bits, known where this is inlined. */
INLINE double element(const prn_sample *s, bool floats, int64_t i) {
  if (floats) return (double)((const float *)s->data)[i];
  return prn_element_to_f64(s->dtype, s->data, i);
}

/* Channels beside each other. */
INLINE void load_rows(const prn_vectors *v, bool floats, int64_t first,
                      int64_t lanes, int64_t at, int64_t n, double *panel) {
  for (int64_t r = 0; r < n; r++) {
    int64_t from = (at + r) * v->channels + first;
    double *to = panel + r * PRN_LANES;
    if (floats && lanes == PRN_LANES) {
      const float *x = (const float *)v->sample->data + from;
      for (int l = 0; l < PRN_LANES; l++)
        to[l] = (double)x[l];
      continue;
    }
    for (int64_t l = 0; l < lanes; l++)
      to[l] = element(v->sample, floats, from + l);
  }
}

/* One channel, whose elements lie beside each other. */
INLINE void load_lane(const prn_vectors *v, bool floats, int64_t channel,
                      int64_t at, int64_t n, double *to) {
  for (int64_t r = 0, run; r < n; r += run) {
    int64_t o = (at + r) / v->inner, in = (at + r) % v->inner;
    int64_t from = (o * v->channels + channel) * v->inner + in;
    run = v->inner - in < n - r ? v->inner - in : n - r;
    for (int64_t i = 0; i < run; i++)
      to[(r + i) * PRN_LANES] = element(v->sample, floats, from + i);
  }
}

/* ---- windows ---- */

/* One place of the window: how far it is from the window's beginning. */
typedef struct place {
  int64_t channel, offset[PRN_WINDOW_AXES];
} place;

static place place_of(const prn_vectors *v, int64_t index) {
  const prn_profile_window *w = v->window;
  place p = {.channel = index / v->places};
  int64_t rest = index % v->places;
  for (int32_t i = w->axes; i-- > 0; rest /= w->kernel[i])
    p.offset[i] = rest % w->kernel[i] * w->dilations[i] - v->begin[i];
  return p;
}

/* The row of the image that the window at out[] sees, but for its last
 * coordinate; false in the padding. */
static bool row_of(const prn_vectors *v, const place *p, int64_t outer,
                   const int64_t *out, int64_t *row) {
  const prn_profile_window *w = v->window;
  *row = outer * v->channels + p->channel;
  for (int32_t i = 0; i + 1 < w->axes; i++) {
    int64_t x = out[i] * w->strides[i] + p->offset[i];
    if (x < 0 || x >= v->in[i]) return false;
    *row = *row * v->in[i] + x;
  }
  *row *= v->in[w->axes - 1];
  return true;
}

/* Where vector `at` is in the output; returns the outer index. */
static int64_t locate(const prn_vectors *v, int64_t at, int64_t *out) {
  int64_t rest = at % v->per_outer;
  for (int32_t i = v->window->axes; i-- > 0; rest /= v->out[i])
    out[i] = rest % v->out[i];
  return at / v->per_outer;
}

/* Outputs [x, x+run) of one row; stride s, and o from output to input. */
INLINE void load_run(const prn_vectors *v, bool floats, int64_t row, int64_t x,
                     int64_t run, int64_t s, int64_t o, double *to) {
  int64_t size = v->in[v->window->axes - 1], i = 0, end;
  int64_t low = o < 0 ? (-o + s - 1) / s : 0; /* first output inside */
  int64_t high =
      size - o > 0 ? (size - o - 1) / s + 1 : 0; /* behind the last */
  for (end = low - x < run ? low - x : run; i < end; i++)
    to[i * PRN_LANES] = 0;
  for (end = high - x < run ? high - x : run; i < end; i++)
    to[i * PRN_LANES] = element(v->sample, floats, row + (x + i) * s + o);
  for (; i < run; i++)
    to[i * PRN_LANES] = 0;
}

INLINE void load_place(const prn_vectors *v, bool floats, int64_t index,
                       int64_t at, int64_t n, double *to) {
  int32_t last = v->window->axes - 1;
  place p = place_of(v, index);
  int64_t out[PRN_WINDOW_AXES], row;
  for (int64_t r = 0, run; r < n; r += run) {
    int64_t outer = locate(v, at + r, out), left = v->out[last] - out[last];
    run = left < n - r ? left : n - r;
    if (row_of(v, &p, outer, out, &row)) {
      load_run(v, floats, row, out[last], run, v->window->strides[last],
               p.offset[last], to + r * PRN_LANES);
      continue;
    }
    for (int64_t i = 0; i < run; i++)
      to[(r + i) * PRN_LANES] = 0;
  }
}

INLINE void load(const prn_vectors *v, bool floats, int64_t first,
                 int64_t lanes, int64_t at, int64_t n, double *panel) {
  if (!v->window && v->inner == 1) {
    load_rows(v, floats, first, lanes, at, n, panel);
    return;
  }
  for (int64_t l = 0; l < lanes; l++)
    if (v->window)
      load_place(v, floats, first + l, at, n, panel + l);
    else
      load_lane(v, floats, first + l, at, n, panel + l);
}

void prn_vectors_load(const prn_vectors *v, int64_t first, int64_t lanes,
                      int64_t at, int64_t n, double *panel) {
  if (lanes < PRN_LANES)
    memset(panel, 0, (size_t)n * PRN_LANES * sizeof *panel);
  if (v->sample->dtype == PRN_F32)
    load(v, true, first, lanes, at, n, panel);
  else
    load(v, false, first, lanes, at, n, panel);
}
