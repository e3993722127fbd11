/* Profiles after a permutation; see permute.h.
 *
 * A profile names values, and these have their channels in another order now.
 * That of the run follows. One in a file cannot: the model's fingerprint, by
 * which it is told whose it is, becomes another one. */
#include "ir/fingerprint.h"
#include "ir/support/xxh64.h"
#include "passes/permute/permute.h"

static uint64_t hash_of(const prn_removal *r) {
  prn_xxh64_state s;
  prn_xxh64_begin(&s, 0);
  for (size_t i = 0; i < r->c->size; i++) {
    if (!r->kept[i].at) continue;
    int64_t group = (int64_t)i;
    prn_xxh64_add(&s, &group, sizeof group);
    prn_xxh64_add(&s, r->kept[i].at,
                  (size_t)r->kept[i].n * sizeof *r->kept[i].at);
  }
  return prn_xxh64_end(&s);
}

static void add_name(prn_map *values, prn_value *v) {
  if (v->name.size) *prn_map_slot(values, v->name) = v;
}

static void name_values(prn_map *values, const prn_module *m) {
  PRN_EACH_OP(graph, m->body) {
    if (!prn_op_is(graph, PRN_OP_onnx_graph)) continue;
    const prn_block *body = prn_op_block(graph, "body");
    for (uint32_t i = 0; i < body->num_args; i++)
      add_name(values, body->args[i]);
    PRN_EACH_OP(op, body)
      for (uint32_t i = 0; i < op->num_results; i++)
        add_name(values, &op->results[i]);
  }
}

/* The order of the channels that were observed; NULL: as they were. */
static const int64_t *order_of(const prn_removal *r, const prn_map *values,
                               const prn_observation *o) {
  const prn_value *v = prn_map_get(values, o->value);
  int64_t n;
  if (!v || !prn_type_is_ranked(v->type)) return NULL;
  int32_t axis = o->axis < 0 ? o->axis + v->type->rank : o->axis;
  if (axis < 0 || axis >= v->type->rank ||
      !prn_dim_is_const(v->type->dims[axis], &n) ||
      n * prn_window_places(&o->window) != o->channels)
    return NULL;
  return prn_removal_sources(r, v, axis);
}

static prn_status follow(prn_pass_env *env, const prn_module *m,
                         const prn_removal *r, prn_profile *out) {
  const prn_profile *old = prn_pass_profile(env);
  prn_status status = PRN_OK;
  prn_map values = {0};
  size_t lost = 0;
  *out = (prn_profile){.model = old->model, .block = old->block};
  name_values(&values, m);
  for (size_t i = 0; i < old->size && status == PRN_OK; i++) {
    const prn_observation *o = &old->at[i];
    bool without = false;
    if (o->count &&
        !prn_profile_add_moved(out, o, order_of(r, &values, o), &without))
      status = prn_pass_error(env, "no memory for the profile");
    lost += without;
  }
  prn_map_destroy(&values);
  if (lost)
    prn_pass_warning(env,
                     "moments of blocks of channels are of no use any more "
                     "for %zu values: observe the permuted model",
                     lost);
  return status;
}

prn_status prn_permute_profile(prn_pass_env *env, prn_module *m,
                               const prn_removal *r) {
  prn_seen moved = {0}; /* folds are not followed */
  prn_module_note_order(m, hash_of(r));
  if (!prn_pass_profile(env)) return PRN_OK;
  if (follow(env, m, r, &moved.all) != PRN_OK) {
    prn_seen_clear(&moved);
    return PRN_FAIL;
  }
  prn_pass_set_profile(env, &moved);
  return PRN_OK;
}
