#include "tools/runner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/support/philox.h"
#include "ir/tensor.h"

enum { LINE = 64 };

void prn_runner_destroy(prn_runner *r) {
  free(r->arena);
  r->arena = NULL;
  r->arena_size = 0;
  prn_arrays_destroy(&r->bound);
}

PRN_PRINTF(2, 3)
static prn_status fail(const prn_runner *r, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  prn_status s =
      prn_diag_vemit(prn_ctx_diags(r->ctx), PRN_ERROR,
                     (prn_loc){.file = r->file}, PRN_STR(""), fmt, ap);
  va_end(ap);
  return s;
}

static const char *const status_texts[] = {
    [PRUNE_OK] = "",
    [PRUNE_BAD_DIMS] = "the sizes of the inputs contradict the model",
    [PRUNE_SMALL_ARENA] = "the arena is too small",
    [PRUNE_SMALL_OUTPUT] = "an output is too small",
    [PRUNE_BAD_INDEX] = "an index in the input data is out of range",
    [PRUNE_TOO_LARGE] = "the sizes are so large that byte counts overflow",
    [PRUNE_BAD_CALL] = "a pointer is missing",
};

static prn_status check_status(const prn_runner *r, int status) {
  if (status == PRUNE_OK) return PRN_OK;
  bool known = status > 0 && (size_t)status < PRN_COUNT(status_texts);
  return fail(r, "the model reports: %s",
              known ? status_texts[status] : "unknown status");
}

static prn_array *input_of(const prn_arrays *inputs, const prune_value *v) {
  return prn_arrays_find(inputs, prn_str_from(v->name));
}

static prn_status check_dims(const prn_runner *r, const prune_value *v,
                             const prn_array *a) {
  prn_status status = PRN_OK;
  for (int32_t i = 0; i < v->rank; i++)
    if (v->dims[i] >= 0 && v->dims[i] != a->dims[i])
      status =
          fail(r,
               "input '%s': dimension %d is %lld but the model has "
               "%lld",
               v->name, (int)i, (long long)a->dims[i], (long long)v->dims[i]);
  return status;
}

static prn_status check_bound(const prn_runner *r, const prn_array *a) {
  const prn_array *b = prn_arrays_find(&r->bound, a->name);
  if (!b || (b->bytes == a->bytes && memcmp(a->data, b->data, a->bytes) == 0))
    return PRN_OK;
  return fail(r,
              "input '%.*s' decides sizes and has other values than those the "
              "model was compiled for",
              PRN_STR_ARG(a->name));
}

static prn_status check_inputs(const prn_runner *r, const prn_arrays *inputs) {
  prn_status status = PRN_OK;
  const prune_model *m = r->model;
  for (uint32_t i = 0; i < m->num_inputs; i++) {
    const prune_value *v = &m->inputs[i];
    const prn_array *a = input_of(inputs, v);
    if (!a)
      status = fail(r, "input '%s' is not given", v->name);
    else if ((int32_t)a->dtype != v->type)
      status =
          fail(r, "input '%s' is %s but the model takes %s", v->name,
               prn_dtype_name(a->dtype), prn_dtype_name((prn_dtype)v->type));
    else if (a->rank != v->rank)
      status = fail(r, "input '%s' has %d dimensions but the model takes %d",
                    v->name, (int)a->rank, (int)v->rank);
    else if (check_dims(r, v, a) != PRN_OK || check_bound(r, a) != PRN_OK)
      status = PRN_FAIL;
  }
  for (size_t k = 0; k < inputs->size; k++) {
    bool known = false;
    for (uint32_t i = 0; i < m->num_inputs; i++)
      known = known || prn_str_is(inputs->items[k].name, m->inputs[i].name);
    if (!known)
      prn_diag_emit(prn_ctx_diags(r->ctx), PRN_WARNING,
                    (prn_loc){.file = r->file}, PRN_STR(""),
                    "the model has no input '%.*s'",
                    PRN_STR_ARG(inputs->items[k].name));
  }
  return status;
}

/* The call's tensors for these arrays; freed by the caller. */
typedef struct tensors {
  prune_tensor *in, *out;
  prune_call call;
} tensors;

/* Compiled code has a byte for each element that takes less; arrays are
 * packed. */
static void *unpacked(const prn_array *a) {
  uint32_t bits = prn_dtype_bits(a->dtype);
  bool sign = a->dtype == PRN_I4 || a->dtype == PRN_I2;
  unsigned char *bytes = prn_alloc((size_t)a->count + 1);
  for (int64_t i = 0; i < a->count; i++) {
    unsigned v = (unsigned)prn_element_bits(a->dtype, a->data, i);
    if (sign && v >> (bits - 1)) v |= ~0u << bits;
    bytes[i] = (unsigned char)v;
  }
  return bytes;
}

static bool is_packed(const prn_array *a) {
  return prn_dtype_bits(a->dtype) < 8 && a->dtype != PRN_STRING;
}

static void bind(const prn_runner *r, const prn_arrays *inputs, tensors *t) {
  const prune_model *m = r->model;
  t->in = prn_alloc(prn_array_size(sizeof *t->in, m->num_inputs));
  t->out = prn_alloc(prn_array_size(sizeof *t->out, m->num_outputs));
  for (uint32_t i = 0; i < m->num_inputs; i++) {
    prn_array *a = input_of(inputs, &m->inputs[i]);
    t->in[i] = (prune_tensor){a->data, a->bytes, a->dims};
    if (is_packed(a))
      t->in[i] = (prune_tensor){unpacked(a), (size_t)a->count, a->dims};
  }
  t->call = (prune_call){.inputs = t->in,
                         .outputs = t->out,
                         .weights = r->weights,
                         .workers = r->pool ? r->pool->workers : 1,
                         .parallel_for = r->pool ? prune_pool_for : NULL,
                         .pool = r->pool};
}

static void unbind(const prn_runner *r, const prn_arrays *inputs, tensors *t) {
  for (uint32_t i = 0; i < r->model->num_inputs; i++)
    if (is_packed(input_of(inputs, &r->model->inputs[i])))
      prn_free(t->in[i].data);
  prn_free(t->in);
  prn_free(t->out);
}

static prn_status grow_arena(prn_runner *r, size_t need) {
  r->arena_need = need;
  if (need <= r->arena_size && r->arena) return PRN_OK;
  free(r->arena);
  r->arena_size = 0;
  if (posix_memalign(&r->arena, LINE, need ? need : LINE) != 0) {
    r->arena = NULL;
    return fail(r, "no memory for an arena of %zu bytes", need);
  }
  r->arena_size = need ? need : LINE;
  return PRN_OK;
}

static prn_status make_outputs(prn_runner *r,
                               int64_t (*dims)[PRN_ARRAY_MAX_RANK],
                               prn_arrays *out) {
  const prune_model *m = r->model;
  for (uint32_t i = 0; i < m->num_outputs; i++) {
    prn_array a;
    const prune_value *v = &m->outputs[i];
    if (!prn_array_init(&a, prn_intern_cstr(r->ctx, v->name),
                        (prn_dtype)v->type, v->rank, dims[i]))
      return fail(r, "no memory for output '%s'", v->name);
    prn_arrays_add(out, a);
  }
  return PRN_OK;
}

prn_status prn_runner_prepare(prn_runner *r, const prn_arrays *inputs,
                              prn_arrays *out) {
  tensors t;
  size_t need = 0;
  const prune_model *m = r->model;
  PRN_TRY(check_inputs(r, inputs));
  int64_t(*dims)[PRN_ARRAY_MAX_RANK] =
      prn_alloc(prn_array_size(sizeof *dims, m->num_outputs));
  bind(r, inputs, &t);
  for (uint32_t i = 0; i < m->num_outputs; i++)
    t.out[i] = (prune_tensor){NULL, 0, dims[i]};
  prn_status status = check_status(r, m->plan(&t.call, &need));
  if (status == PRN_OK) status = grow_arena(r, need);
  if (status == PRN_OK) status = make_outputs(r, dims, out);
  unbind(r, inputs, &t);
  prn_free(dims);
  return status;
}

static void pack_outputs(const prn_runner *r, const tensors *t,
                         const prn_arrays *outputs) {
  for (uint32_t i = 0; i < r->model->num_outputs; i++) {
    prn_array *a =
        prn_arrays_find(outputs, prn_str_from(r->model->outputs[i].name));
    unsigned char *bytes = t->out[i].data;
    if (!is_packed(a)) continue;
    for (int64_t k = 0; k < a->count; k++)
      prn_element_set_bits(a->dtype, a->data, k, bytes[k]);
    prn_free(bytes);
  }
}

prn_status prn_runner_run(prn_runner *r, const prn_arrays *inputs,
                          const prn_arrays *outputs) {
  tensors t;
  const prune_model *m = r->model;
  bind(r, inputs, &t);
  t.call.arena = r->arena;
  t.call.arena_size = r->arena_size;
  /* The last, in order: a model may name one value twice. */
  prn_array *own = outputs->items + (outputs->size - m->num_outputs);
  for (uint32_t i = 0; i < m->num_outputs; i++) {
    prn_array *a = &own[i];
    t.out[i] = (prune_tensor){a->data, a->bytes, a->dims};
    if (is_packed(a))
      t.out[i] = (prune_tensor){unpacked(a), (size_t)a->count, a->dims};
  }
  prn_status status = check_status(r, m->run(&t.call));
  pack_outputs(r, &t, outputs);
  unbind(r, inputs, &t);
  return status;
}

/* ---- random inputs ---- */

typedef struct stream {
  uint64_t seed, at;
} stream;

/* In [0, 1). */
static double uniform(stream *s) {
  uint32_t word;
  prn_philox_words(s->seed, 0, s->at++, 1, &word);
  return word * 0x1p-32;
}

static void fill(stream *s, prn_array *a) {
  const double tau = 6.283185307179586;
  for (int64_t i = 0; i < a->count; i++) {
    double u = uniform(s);
    if (prn_dtype_is_float(a->dtype)) {
      double n = sqrt(-2 * log(1 - u)) * cos(tau * uniform(s));
      (void)!prn_element_from_f64(a->dtype, n, a->data, i);
    } else {
      size_t width = a->bytes / (size_t)a->count;
      ((unsigned char *)a->data)[(size_t)i * width] = u < 0.5;
    }
  }
}

prn_status prn_runner_random(prn_runner *r, uint64_t seed,
                             int64_t (*size)(void *user, prn_str name),
                             void *user, prn_arrays *out) {
  stream s = {.seed = seed};
  for (uint32_t i = 0; i < r->model->num_inputs; i++) {
    const prune_value *v = &r->model->inputs[i];
    int64_t dims[PRN_ARRAY_MAX_RANK];
    prn_array a;
    for (int32_t k = 0; k < v->rank; k++) {
      int64_t n = 0;
      if (v->dims[k] < 0 && size) n = size(user, prn_str_from(v->dim_names[k]));
      dims[k] = v->dims[k] >= 0 ? v->dims[k] : n > 0 ? n : 1;
    }
    if (!prn_array_init(&a, prn_intern_cstr(r->ctx, v->name),
                        (prn_dtype)v->type, v->rank, dims))
      return fail(r, "no memory for input '%s'", v->name);
    fill(&s, &a);
    prn_arrays_add(out, a);
  }
  return PRN_OK;
}
