#include "passes/analysis/observed.h"

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

const prn_observation *prn_site_observation(const prn_profile *p,
                                            const prn_site_use *use) {
  prn_site_input in;
  if (!prn_site_input_of(use->op, use->slot, &in) || prn_site_input_hidden(&in))
    return NULL;
  return prn_profile_find(p, in.value->name, in.axis);
}

/* ---- second moments ---- */

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

/* Channels are columns: windows of one element, and one axis of inputs. */
static bool one_column_a_channel(const prn_site *s, int64_t *inputs) {
  int found = 0;
  for (int32_t i = 0; i < s->layout.rank; i++) {
    int64_t size = prn_layout_dim(&s->layout, i);
    if (s->roles[i] == PRN_ROLE_KERNEL && size != 1) return false;
    if (s->roles[i] != PRN_ROLE_IN) continue;
    found++;
    *inputs = size;
  }
  return found == 1;
}

bool prn_site_moments_of(const prn_profile *p, const prn_site *s,
                         prn_site_moments *out, const char **why) {
  *out = (prn_site_moments){.profile = p, .site = s};
  *why = "its users see its axes differently";
  if (s->mixed || !s->num_uses) return false;
  *why = "its windows have more than one element";
  if (!one_column_a_channel(s, &out->inputs)) return false;
  out->groups = prn_site_groups(s);
  *why = "its groups cannot be told apart";
  if (out->groups < 1) return false;
  for (size_t i = 0; i < s->num_uses; i++) {
    const prn_observation *o = prn_site_observation(p, &s->uses[i]);
    *why = "its input was not observed";
    if (!o || !o->count) return false;
    *why = "its input was observed without moments";
    if (!o->moments) return false;
    *why = "its input has another number of channels in the profile";
    if (o->channels != out->inputs * out->groups) return false;
    out->count += o->count;
  }
  return true;
}

void prn_site_moments_read(const prn_site_moments *m, int64_t group,
                           double *out) {
  int64_t n = m->inputs, first = group * n;
  memset(out, 0, (size_t)(n * n) * sizeof *out);
  for (size_t i = 0; i < m->site->num_uses; i++) {
    const prn_observation *o =
        prn_site_observation(m->profile, &m->site->uses[i]);
    double share = (double)o->count / (double)m->count;
    for (int64_t r = 0; r < n; r++)
      for (int64_t c = 0; c < n; c++)
        out[r * n + c] +=
            share * o->moments[(first + r) * o->channels + first + c];
  }
}

void prn_site_means_read(const prn_site_moments *m, int64_t group,
                         double *out) {
  int64_t n = m->inputs;
  memset(out, 0, (size_t)n * sizeof *out);
  for (size_t i = 0; i < m->site->num_uses; i++) {
    const prn_observation *o =
        prn_site_observation(m->profile, &m->site->uses[i]);
    double share = (double)o->count / (double)m->count;
    for (int64_t c = 0; c < n; c++)
      out[c] += share * o->mean[group * n + c];
  }
}
