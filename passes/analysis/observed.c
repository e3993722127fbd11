#include "passes/analysis/observed.h"

#include <stdlib.h>
#include <string.h>

/* Another value is the graph's output of that name. */
static bool is_hidden_by_output(const prn_op *graph, const prn_value *v) {
  const prn_attr *names = prn_op_attr(graph, "outputs");
  const prn_op *ret = v->block->last;
  for (uint32_t i = 0; names && names->kind == PRN_ATTR_STRINGS && ret &&
                       i < names->size && i < ret->num_operands;
       i++)
    if (prn_str_eq(names->strings[i], v->name) && prn_op_operand(ret, i) != v)
      return true;
  return false;
}

const char *prn_site_input_hidden(const prn_site_input *input) {
  const prn_value *v = input->value;
  if (v->name.size == 0) return "has no name";
  if (!v->block->parent || !prn_op_is(v->block->parent, PRN_OP_onnx_graph))
    return "is inside of a function or a nested graph";
  if (v->type->kind == PRN_TYPE_TENSOR && !prn_dtype_is_float(v->type->dtype))
    return "is not of floats";
  if (is_hidden_by_output(v->block->parent, v))
    return "has the name of an output that is another value";
  return NULL;
}

/* Appends unless the same is there; `seen` holds the first place of a value,
 * from 1. */
static void add(prn_site_inputs *all, prn_ptrmap *seen, prn_site_input in) {
  void **slot = prn_ptrmap_slot(seen, in.value);
  for (size_t i = (uintptr_t)*slot; i && i <= all->size; i++)
    if (all->at[i - 1].value == in.value && all->at[i - 1].axis == in.axis)
      return;
  all->at[all->size++] = in;
  if (!*slot) *slot = (void *)(uintptr_t)all->size;
}

prn_site_inputs prn_sites_observable(const prn_sites *s, prn_arena *arena) {
  prn_site_inputs all = {0};
  prn_ptrmap seen = {0};
  size_t cap = 0;
  for (size_t i = 0; i < s->size; i++)
    cap += s->at[i].num_uses;
  all.at = PRN_ARENA_ARRAY(arena, prn_site_input, cap);
  for (size_t i = 0; i < s->size; i++)
    for (size_t k = 0; k < s->at[i].num_uses; k++) {
      const prn_site_use *use = &s->at[i].uses[k];
      prn_site_input in;
      if (prn_site_input_of(use->op, use->slot, &in) &&
          !prn_site_input_hidden(&in))
        add(&all, &seen, in);
    }
  prn_ptrmap_destroy(&seen);
  return all;
}

int64_t prn_site_groups(const prn_site *s) {
  static const char *const convs[] = {"Conv", "FusedConv", "DeformConv",
                                      "ConvTranspose"};
  const prn_op *op = s->uses[0].op;
  const prn_attr *group = prn_op_attr(op, "group");
  for (size_t i = 0; i < PRN_COUNT(convs); i++)
    if (prn_str_is(op->opname->name, convs[i]) && group &&
        group->kind == PRN_ATTR_INT)
      return group->i;
  return 1;
}

/* ---- windows ---- */

static bool is_conv(const prn_op *op) {
  return prn_str_is(op->opname->name, "Conv") ||
         prn_str_is(op->opname->name, "FusedConv");
}

/* Attribute `name` as n numbers; `usual` when it is absent. */
static bool numbers(const prn_op *op, const char *name, int32_t n,
                    int64_t usual, int64_t *out) {
  size_t size;
  const int64_t *v = prn_op_ints(op, name, &size);
  bool absent = prn_op_attr(op, name) == NULL;
  if (!absent && size != (size_t)n) return false;
  for (int32_t i = 0; i < n; i++)
    out[i] = absent ? usual : v[i];
  return true;
}

static bool all_are(const int64_t *v, int32_t n, int64_t value) {
  for (int32_t i = 0; i < n; i++)
    if (v[i] != value) return false;
  return true;
}

static bool read_pads(const prn_op *op, prn_profile_window *w) {
  prn_str mode = prn_op_string(op, "auto_pad", "NOTSET");
  bool upper = prn_str_is(mode, "SAME_UPPER"),
       lower = prn_str_is(mode, "SAME_LOWER");
  if (!upper && !lower) {
    if (prn_str_is(mode, "VALID")) return true;
    return numbers(op, "pads", 2 * w->axes, 0, w->pads);
  }
  if (!all_are(w->strides, w->axes, 1)) {
    w->same = upper ? PRN_WINDOW_SAME_UPPER : PRN_WINDOW_SAME_LOWER;
    return true;
  }
  for (int32_t i = 0; i < w->axes; i++) {
    int64_t pads = (w->kernel[i] - 1) * w->dilations[i], begin = pads / 2;
    w->pads[i] = upper ? begin : pads - begin;
    w->pads[w->axes + i] = pads - w->pads[i];
  }
  return true;
}

bool prn_site_window(const prn_site_use *use, prn_profile_window *out) {
  const prn_op *op = use->op;
  const prn_value *v = prn_op_operand(op, use->slot);
  prn_profile_window w = {.groups = 1};
  *out = (prn_profile_window){0};
  if (!is_conv(op)) return true;
  if (!v || !prn_type_is_ranked(v->type)) return false;
  w.axes = v->type->rank - 2;
  w.groups = prn_op_int(op, "group", 1);
  if (w.axes < 1 || w.axes > PRN_WINDOW_AXES) return false;
  for (int32_t i = 0; i < w.axes; i++)
    if (!prn_dim_is_const(v->type->dims[2 + i], &w.kernel[i])) return false;
  if (!numbers(op, "strides", w.axes, 1, w.strides) ||
      !numbers(op, "dilations", w.axes, 1, w.dilations))
    return false;
  for (int32_t i = 0; i < w.axes; i++)
    if (w.kernel[i] == 1) w.dilations[i] = 1;
  if (!read_pads(op, &w) || !prn_window_valid(&w)) return false;
  if (w.groups == 1 && !w.same && all_are(w.kernel, w.axes, 1) &&
      all_are(w.strides, w.axes, 1) && all_are(w.pads, 2 * w.axes, 0))
    return true;
  *out = w;
  return true;
}

static bool counts(prn_str name, const prn_str *names, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (prn_str_eq(names[i], name)) return true;
  return n == 0;
}

/* Values first, so that profiles with and without moments list them alike. */
static void observe_use(const prn_site_use *use, const prn_str *names, size_t n,
                        bool windows, prn_profile *p) {
  prn_site_input in;
  prn_profile_window w;
  if (!prn_site_input_of(use->op, use->slot, &in) ||
      prn_site_input_hidden(&in) || !counts(in.value->name, names, n))
    return;
  bool known = prn_site_window(use, &w);
  if (windows && known && w.axes) {
    (void)prn_profile_add_window(p, in.value->name, in.axis, &w);
  } else if (!windows) {
    bool fresh = !prn_profile_find(p, in.value->name, in.axis);
    size_t at = prn_profile_add(p, in.value->name, in.axis);
    if (fresh) p->at[at].block = 0;
    if (known && !w.axes) p->at[at].block = p->block;
  }
}

void prn_sites_observe(const prn_sites *s, const prn_str *names, size_t n,
                       prn_profile *p) {
  for (int windows = 0; windows < (p->block ? 2 : 1); windows++)
    for (size_t i = 0; i < s->size; i++)
      for (size_t k = 0; k < s->at[i].num_uses; k++)
        observe_use(&s->at[i].uses[k], names, n, windows, p);
}

const prn_observation *prn_site_observation(const prn_profile *p,
                                            const prn_site_use *use) {
  prn_site_input in;
  if (!prn_site_input_of(use->op, use->slot, &in) || prn_site_input_hidden(&in))
    return NULL;
  return prn_profile_find(p, in.value->name, in.axis);
}

/* ---- weights as matrices ---- */

/* Products over all axes with a role in `roles`. */
static int64_t size_of(const prn_site *s, uint32_t roles) {
  uint32_t axes = prn_site_axes(s, roles);
  int64_t n = 1;
  for (int32_t i = 0; i < s->layout.rank; i++)
    if (axes >> i & 1) n *= prn_layout_dim(&s->layout, i);
  return n;
}

/* Directions of a recurrence see the same inputs. */
static bool shares_inputs(const prn_op *op) {
  return prn_op_is(op, PRN_OP_onnx_LSTM) || prn_op_is(op, PRN_OP_onnx_GRU) ||
         prn_op_is(op, PRN_OP_onnx_RNN);
}

typedef struct column {
  int64_t at, from;
} column;

static int by_offset(const void *a, const void *b) {
  const column *x = a, *y = b;
  return (x->at > y->at) - (x->at < y->at);
}

/* No memory is not the same as no matrix. */
static int64_t *offsets_of(const prn_site *s, uint32_t roles, int64_t *n) {
  int64_t *at = prn_layout_offsets(&s->layout, prn_site_axes(s, roles), n);
  if (!at) prn_out_of_memory(sizeof *at * (size_t)*n);
  return at;
}

/* Columns ascending, and where they come from. */
static void sort_columns(const prn_site *s, prn_arena *arena,
                         prn_site_matrix *m) {
  int64_t *at = offsets_of(s, PRN_ROLES_COL, &m->inputs);
  column *pairs = PRN_ARENA_ARRAY(arena, column, m->inputs);
  m->cols = PRN_ARENA_ARRAY(arena, int64_t, m->inputs);
  m->from = PRN_ARENA_ARRAY(arena, int64_t, m->inputs);
  for (int64_t i = 0; i < m->inputs; i++)
    pairs[i] = (column){at[i], i};
  prn_free(at);
  qsort(pairs, (size_t)m->inputs, sizeof *pairs, by_offset);
  for (int64_t i = 0; i < m->inputs; i++) {
    m->cols[i] = pairs[i].at;
    m->from[i] = pairs[i].from;
  }
}

bool prn_site_matrix_of(const prn_site *s, prn_arena *arena,
                        prn_site_matrix *out) {
  int64_t all;
  *out = (prn_site_matrix){.groups = 1};
  if (!prn_site_tensor(s) || s->mixed || s->num_uses == 0 ||
      !prn_site_axes(s, 1u << PRN_ROLE_IN))
    return false;
  out->places = size_of(s, 1u << PRN_ROLE_KERNEL);
  int64_t batch = size_of(s, 1u << PRN_ROLE_BATCH);
  for (size_t i = 0; i < s->num_uses; i++) {
    const prn_op *op = s->uses[i].op;
    int64_t groups = is_conv(op) ? prn_op_int(op, "group", 1) : 1;
    if (i == 0) out->groups = groups;
    if (groups != out->groups || (out->places > 1 && !is_conv(op)) ||
        (batch > 1 && !shares_inputs(op)))
      return false;
  }
  int64_t *rows = offsets_of(s, PRN_ROLES_ROW, &all);
  bool ok = out->groups > 0 && all % out->groups == 0;
  if (ok) {
    out->outputs = all / out->groups;
    out->rows =
        prn_arena_copy(arena, rows, prn_array_size(sizeof *rows, (size_t)all));
  }
  prn_free(rows);
  if (ok) sort_columns(s, arena, out);
  return ok;
}

void prn_site_matrix_by_place(prn_site_matrix *m) {
  int64_t n = m->inputs, channels = n / m->places;
  int64_t *at = prn_alloc(prn_array_size((size_t)n + 1, sizeof *at));
  for (int64_t i = 0; i < n; i++)
    at[m->from[i]] = m->cols[i];
  for (int64_t i = 0; i < n; i++) {
    m->from[i] = i % channels * m->places + i / channels;
    m->cols[i] = at[m->from[i]];
  }
  prn_free(at);
}

/* The observation whose channels are the inputs of a use; NULL when there is
 * none that fits. */
static const prn_observation *inputs_of(const prn_profile *p,
                                        const prn_site_use *use,
                                        const prn_site_matrix *m) {
  prn_site_input in;
  prn_profile_window w;
  if (!prn_site_input_of(use->op, use->slot, &in) ||
      prn_site_input_hidden(&in) || !prn_site_window(use, &w))
    return NULL;
  const prn_observation *o =
      prn_profile_find_window(p, in.value->name, in.axis, &w);
  return o && o->channels == m->inputs * m->groups ? o : NULL;
}

bool prn_use_means_of(const prn_profile *p, const prn_site_use *use,
                      const prn_site_matrix *m, int64_t group, double *out) {
  const prn_observation *o = inputs_of(p, use, m);
  int64_t places = 1;
  if (!o) {
    o = prn_site_observation(p, use);
    places = m->places;
  }
  if (!o || o->channels * places != m->inputs * m->groups) return false;
  const double *mean = o->mean + group * (m->inputs / places);
  for (int64_t i = 0; i < m->inputs; i++)
    out[i] = mean[m->from[i] / places];
  return true;
}

/* What lets one matrix be read in the order of the weight's inputs. */
static void add_square(const double *as_seen, const prn_site_matrix *m,
                       double share, double *out) {
  int64_t n = m->inputs;
  for (int64_t i = 0; i < n; i++) {
    const double *row = as_seen + m->from[i] * n;
    double *to = out + i * n;
    for (int64_t j = 0; j < n; j++)
      to[j] += share * (row[m->from[j]] - to[j]);
  }
}

static void add_means(const double *mean, const prn_site_matrix *m,
                      double share, double *out) {
  for (int64_t i = 0; i < m->inputs; i++)
    out[i] += share * (mean[m->from[i]] - out[i]);
}

/* Adds a use's moments to those of the uses before. */
static void add_use(const prn_observation *o, const prn_site_matrix *m,
                    int64_t group, double *as_seen, prn_site_moments *out) {
  double share = (double)o->count / ((double)out->count + (double)o->count);
  prn_observation_moments(o, group, as_seen);
  add_means(o->mean + group * m->inputs, m, share, out->mean);
  add_square(as_seen, m, share, out->second);
  if (out->cross) {
    prn_observation_cross(o, group, as_seen);
    add_means(o->before + group * m->inputs, m, share, out->before);
    add_square(as_seen, m, share, out->cross);
  }
  out->count += o->count;
}

/* Memory for one matrix more than there are: that is *spare. */
static bool make_room(prn_site_moments *out, bool paired, double **spare) {
  size_t one, bytes, n = (size_t)out->n, sets = paired ? 2 : 1;
  if (!prn_mul_size(n, n + 1, &one) ||
      !prn_mul_size(one, (sets + 1) * sizeof(double), &bytes))
    return false;
  out->mean = prn_try_alloc(bytes);
  if (!out->mean) return false;
  memset(out->mean, 0, bytes);
  out->second = out->mean + n;
  if (paired) {
    out->before = out->mean + one;
    out->cross = out->before + n;
  }
  *spare = out->mean + sets * one;
  return true;
}

bool prn_site_moments_of(const prn_profile *p, const prn_site *s,
                         const prn_site_matrix *m, int64_t group,
                         prn_site_moments *out, const char **why) {
  double *spare;
  bool paired = true;
  *out = (prn_site_moments){.n = m->inputs};
  for (size_t i = 0; i < s->num_uses; i++) {
    const prn_observation *o = inputs_of(p, &s->uses[i], m);
    *why = !o            ? "its input was not observed"
           : !o->moments ? "its input was observed without moments"
                         : NULL;
    if (*why) return false;
    paired = paired && o->cross;
  }
  if (!make_room(out, paired, &spare)) {
    *why = "the moments of its input are too large for memory";
    return false;
  }
  for (size_t i = 0; i < s->num_uses; i++)
    add_use(inputs_of(p, &s->uses[i], m), m, group, spare, out);
  return true;
}

void prn_site_moments_free(prn_site_moments *m) {
  prn_free(m->mean);
  *m = (prn_site_moments){0};
}
