#include "tools/lowering.h"

#include <ctype.h>
#include <string.h>

#include "ir/fingerprint.h"
#include "ir/tensor.h"
#include "passes/analysis/branches.h"
#include "passes/analysis/observed.h"
#include "passes/lower/lower.h"
#include "passes/lower/machine.h"
#include "passes/manager.h"
#include "passes/remark.h"
#include "tools/model_io.h"
#include "tools/recipe.h"
#include "tools/tune.h"

/* Appends the passes that the module's dialect still needs: those that are
 * the same for every target. */
static void common_text(const prn_lowering *how, uint32_t dialects,
                        prn_strbuf *b) {
  if (how->dims.size) {
    prn_strbuf_cstr(b, "bind-dims{dims=[");
    for (size_t i = 0; i < how->dims.size; i++) {
      if (i) prn_strbuf_cstr(b, ", ");
      prn_strbuf_quoted(b, prn_str_from(how->dims.at[i]));
    }
    prn_strbuf_cstr(b, "]},");
  }
  if (dialects & PRN_DIALECT_ONNX)
    prn_strbuf_cstr(b,
                    "infer-shapes,canonicalize,fold-constants,unroll-loops,"
                    "resolve-sequences{defaults=true,outputs=true},cse,dce,");
  if (dialects & PRN_DIALECT_ONNX)
    prn_strbuf_fmt(b, "lower-onnx-to-nn%s,", how->gpu ? "{float8=true}" : "");
  const char *type = how->precision ? how->precision : "f32";
  if (dialects & (PRN_DIALECT_ONNX | PRN_DIALECT_NN))
    prn_strbuf_fmt(b, "nn-widen,nn-simplify,nn-precision{type=%s},nn-fuse,",
                   how->gpu ? "f32" : type);
  if (dialects & (PRN_DIALECT_ONNX | PRN_DIALECT_NN) && how->gpu)
    prn_strbuf_fmt(b, "nn-narrow{type=%s},", type);
  if (b->size) b->size--;
}

/* From the nn dialect, with formats chosen. */
static void memory_text(const prn_tile *t, prn_strbuf *b) {
  prn_strbuf_fmt(b, "lower-nn-to-mem{nr=%d,mr=%d},plan-memory", t->nr, t->mr);
}

static void gpu_text(const prn_lowering *how, uint32_t dialects,
                     prn_strbuf *b) {
  if (dialects & PRN_DIALECT_NN)
    prn_strbuf_fmt(b, "nn-plan-cuda{gpu=%s},lower-nn-to-mem{layout=rows},",
                   how->gpu);
  prn_strbuf_cstr(b, "plan-memory{align=256}");
}

/* The rest; costs are rows of the cost table. */
static void target_text(const prn_lowering *how, uint32_t dialects,
                        prn_str costs, prn_strbuf *b) {
  const prn_tile *t = &how->tile;
  if (how->gpu) {
    gpu_text(how, dialects, b);
  } else if (dialects & PRN_DIALECT_NN) {
    prn_strbuf_fmt(b, "nn-plan{machine=%s,dot16=%s,dot8=%s", t->machine,
                   t->dot16 ? "true" : "false", t->dot8 ? "true" : "false");
    if (costs.size) {
      prn_strbuf_cstr(b, ",costs=");
      prn_strbuf_quoted(b, costs);
    }
    prn_strbuf_cstr(b, "},");
    memory_text(t, b);
  } else {
    prn_strbuf_cstr(b, "plan-memory");
  }
}

/* The target's machine with the costs of the file, if one is given, which is
 * checked to be a cost table with rows for it. */
static prn_status open_table(prn_diag_sink *sink, const prn_lowering *how,
                             prn_machine *machine, prn_file **out) {
  const char *why;
  prn_str at;
  *out = NULL;
  if (how->gpu) return PRN_OK;
  (void)prn_machine_find(prn_str_from(how->tile.machine), machine);
  machine->dot16 = how->tile.dot16;
  machine->dot8 = how->tile.dot8;
  if (!how->table) return PRN_OK;
  PRN_TRY(prn_file_open(sink, how->table, out));
  if (prn_machine_costs(machine, prn_file_bytes(*out), &why, &at))
    return PRN_OK;
  (void)prn_diag_emit(sink, PRN_ERROR, (prn_loc){.file = how->table},
                      PRN_STR(""), "'%.*s' %s", PRN_STR_ARG(at), why);
  prn_file_release(*out);
  return PRN_FAIL;
}

/* What the user asked for. */
static prn_status own_passes(prn_ctx *ctx, const prn_registry *r,
                             const prn_lowering *how, prn_pipeline *p) {
  prn_diag_sink *sink = prn_ctx_diags(ctx);
  prn_variables variables = {0};
  prn_status status = prn_recipe_define(sink, &how->defines, &variables);
  if (how->recipe && status == PRN_OK)
    status = prn_recipe_add(ctx, r, how->recipe, &variables, p);
  if (status == PRN_OK) status = prn_variables_check(&variables, sink);
  prn_variables_destroy(&variables);
  if (how->pipeline && status == PRN_OK)
    status = prn_pipeline_parse(ctx, r, NULL, prn_str_from(how->pipeline), p);
  return status;
}

/* What became of the pipeline, and why products got their formats. */
static void tell(const prn_pipeline *p, const prn_remarks *remarks) {
  prn_strbuf b = {0};
  size_t n;
  const prn_remark *all = prn_remarks_all(remarks, &n);
  for (size_t i = 0; i < n; i++)
    if (all[i].reason == PRN_REASON_Planned)
      prn_strbuf_fmt(&b, "%s: %.*s\n", all[i].pass, PRN_STR_ARG(all[i].text));
  prn_timing_print(p, NULL, 0, &b);
  prn_stats_print(p, &b);
  (void)fwrite(b.data, 1, b.size, stderr);
  prn_strbuf_destroy(&b);
}

/* Runs what p holds and then the passes of `text`, which is freed. */
static prn_status run(const prn_registry *r, const prn_lowering *how,
                      const prn_profile *profile, prn_strbuf *text,
                      prn_pipeline *p, prn_module *m) {
  prn_remarks *remarks = how->verbose ? prn_remarks_create(m->ctx) : NULL;
  prn_run_config config = {
      .threads = how->threads, .remarks = remarks, .profile = profile};
  prn_status status = PRN_OK;
  if (text->size)
    status = prn_pipeline_parse(m->ctx, r, NULL, prn_strbuf_view(text), p);
  prn_strbuf_destroy(text);
  if (status == PRN_OK) status = prn_pipeline_run(p, m, &config);
  if (status == PRN_OK && remarks) tell(p, remarks);
  prn_remarks_destroy(remarks);
  return status;
}

static void list_angles(const prn_lowering *how, prn_module *m,
                        prn_arena *arena) {
  prn_branches all = prn_branches_find(m, arena);
  for (size_t i = 0; i < all.size; i++)
    for (size_t n = 1; n <= PRN_BRANCH_SPANS; n++)
      if (prn_branch_has_angle(&all, i, n))
        (void)prn_profile_add(
            how->observe,
            prn_branch_angle_name(m->ctx, &all.at[i], &all.at[i + n - 1]),
            prn_branch_axis(&all.at[i]));
}

/* Lists in how->observe what the outputs that `observe` made show. */
static prn_status list_observed(const prn_lowering *how, prn_module *m) {
  prn_analyses *a = prn_analyses_create(m);
  prn_arena arena = {0};
  prn_status status = prn_analyses_need(a, PRN_SHAPES | PRN_SITES);
  prn_str *names = PRN_ARENA_ARRAY(&arena, prn_str, how->values.size);
  for (size_t i = 0; i < how->values.size; i++)
    names[i] = prn_str_from(how->values.at[i]);
  if (status == PRN_OK)
    prn_sites_observe(prn_analyses_get(a, PRN_ANALYSIS_SITES), names,
                      how->values.size, how->observe);
  for (size_t i = 0; i < how->values.size && status == PRN_OK; i++)
    if (!prn_profile_find_any(how->observe, names[i])) /* an output */
      (void)prn_profile_add(how->observe, names[i], -1);
  if (status == PRN_OK && how->observe_layers) list_angles(how, m, &arena);
  prn_arena_destroy(&arena);
  prn_analyses_destroy(a);
  return status;
}

static void observing_text(const prn_lowering *how, prn_strbuf *b) {
  prn_strbuf_cstr(b, "observe");
  for (size_t i = 0; i < how->values.size; i++) {
    prn_strbuf_cstr(b, i ? ", " : "{values=[");
    prn_strbuf_quoted(b, prn_str_from(how->values.at[i]));
  }
  if (how->values.size) prn_strbuf_cstr(b, "] only}");
  if (how->observe_layers) prn_strbuf_cstr(b, ",observe-layers");
}

/* Runs p, and has what it leaves observed. */
static prn_status observe(const prn_registry *r, const prn_lowering *how,
                          const prn_profile *profile, prn_pipeline *p,
                          prn_module *m) {
  prn_strbuf nothing = {0}, text = {0};
  int64_t block = how->observe->block;
  PRN_TRY(run(r, how, profile, &nothing, p, m));
  prn_profile_clear(how->observe);
  how->observe->block = block;
  how->observe->model = prn_module_fingerprint(m);
  observing_text(how, &text);
  PRN_TRY(run(r, how, NULL, &text, prn_pipeline_create(m->ctx), m));
  PRN_TRY(list_observed(how, m));
  if (how->values.size == 0) return PRN_OK;
  prn_strbuf_cstr(&text, "dce");
  return run(r, how, NULL, &text, prn_pipeline_create(m->ctx), m);
}

/* The input gets the array's values, whatever it is at run time. */
static void bind_value(prn_module *m, prn_value *in, const prn_array *a) {
  prn_block *body = in->block;
  const prn_type *t = prn_type_static(m->ctx, a->dtype, a->rank, a->dims);
  prn_op *op = prn_op_create(m, prn_opname_code(m->ctx, PRN_OP_onnx_Constant),
                             (prn_loc){0}, NULL, 0, &t, 1);
  prn_op_set_attr(
      op, "value",
      prn_attr_tensor(m->ctx, prn_tensor_from_data(m->ctx, t, a->data)));
  if (body->first)
    prn_op_insert_before(op, body->first);
  else
    prn_block_append(body, op);
  prn_value_replace_uses(in, prn_op_result(op, 0));
}

static bool takes(const prn_value *in, const prn_array *a) {
  return in->type->kind == PRN_TYPE_TENSOR && in->type->dtype == a->dtype &&
         (in->type->rank < 0 || in->type->rank == a->rank);
}

static prn_status bind_values(const prn_lowering *how, prn_module *m) {
  prn_lower_mark_size_inputs(m);
  PRN_EACH_OP(top, m->body) {
    const prn_block *body = prn_op_block(top, "body");
    if (!prn_op_is(top, PRN_OP_onnx_graph) || !body) continue;
    for (uint32_t i = 0; i < body->num_args; i++) {
      prn_value *in = body->args[i];
      const prn_array *a = prn_arrays_find(how->given, in->name);
      prn_array copy;
      if (!in->mark || !in->uses || !a || !takes(in, a)) continue;
      bind_value(m, in, a);
      if (!prn_array_copy(a, &copy))
        return prn_module_error(m, "no memory for the values of an input");
      prn_arrays_add(how->bound, copy);
    }
  }
  return PRN_OK;
}

/* ---- sequences and optionals ---- */

/* Whether the user says what this input holds. */
static bool is_said(const prn_lowering *how, const prn_value *in) {
  for (size_t i = 0; i < how->elements.size; i++) {
    const char *text = how->elements.at[i], *eq = strrchr(text, '=');
    if (eq && prn_str_eq(in->name, (prn_str){text, (size_t)(eq - text)}))
      return true;
  }
  return false;
}

static bool is_given(const prn_lowering *how, prn_str name, size_t i) {
  prn_strbuf b = {0};
  prn_strbuf_fmt(&b, "%.*s[%zu]", PRN_STR_ARG(name), i);
  bool found = prn_arrays_find(how->given, prn_strbuf_view(&b)) != NULL;
  prn_strbuf_destroy(&b);
  return found;
}

/* Appends what the input holds by what is given, as bind-sequences has it;
 * nothing when that does not tell. */
static void add_elements(const prn_lowering *how, const prn_value *in,
                         prn_strbuf *list) {
  prn_strbuf b = {0};
  const prn_type *t = in->type;
  bool optional = t->kind == PRN_TYPE_OPTIONAL;
  bool sequence = (optional ? t->elem : t)->kind == PRN_TYPE_SEQUENCE;
  size_t n = 0;
  while (sequence && is_given(how, in->name, n))
    n++;
  if (!optional && n == 0) return;
  prn_strbuf_fmt(&b, "%.*s=", PRN_STR_ARG(in->name));
  if (n)
    prn_strbuf_fmt(&b, "%zu", n);
  else
    prn_strbuf_cstr(&b, !sequence && prn_arrays_find(how->given, in->name)
                            ? "some"
                            : "none");
  if (list->size) prn_strbuf_cstr(list, ", ");
  prn_strbuf_quoted(list, prn_strbuf_view(&b));
  prn_strbuf_destroy(&b);
}

/* Inputs that are not tensors become tensors, if it is known how many. */
static prn_status bind_sequences(const prn_registry *r, const prn_lowering *how,
                                 prn_module *m) {
  prn_strbuf list = {0}, text = {0};
  for (size_t i = 0; i < how->elements.size; i++) {
    if (i) prn_strbuf_cstr(&list, ", ");
    prn_strbuf_quoted(&list, prn_str_from(how->elements.at[i]));
  }
  PRN_EACH_OP(top, m->body) {
    const prn_block *body = prn_op_block(top, "body");
    if (!how->given || !prn_op_is(top, PRN_OP_onnx_graph) || !body) continue;
    for (uint32_t i = 0; i < body->num_args; i++)
      if (prn_type_is_container(body->args[i]->type) &&
          !is_said(how, body->args[i]))
        add_elements(how, body->args[i], &list);
  }
  if (list.size)
    prn_strbuf_fmt(&text, "bind-sequences{elements=[%s]}", list.data);
  prn_strbuf_destroy(&list);
  if (text.size == 0) return PRN_OK;
  if (how->fitted) *how->fitted = true;
  return run(r, how, NULL, &text, prn_pipeline_create(m->ctx), m);
}

/* An input of which not even the rank is known has that of the array. */
static void bind_ranks(const prn_lowering *how, prn_module *m) {
  PRN_EACH_OP(top, m->body) {
    const prn_block *body = prn_op_block(top, "body");
    if (!prn_op_is(top, PRN_OP_onnx_graph) || !body) continue;
    for (uint32_t i = 0; i < body->num_args; i++) {
      prn_value *in = body->args[i];
      const prn_array *a = prn_arrays_find(how->given, in->name);
      int64_t open[PRN_ARRAY_MAX_RANK];
      if (!a || !takes(in, a) || in->type->rank >= 0) continue;
      memset(open, -1, sizeof open);
      in->type = prn_type_static(m->ctx, a->dtype, a->rank, open);
      if (how->fitted) *how->fitted = true;
    }
  }
}

static prn_status lower_common(const prn_registry *r, const prn_lowering *how,
                               prn_module *m) {
  prn_strbuf text = {0};
  prn_profile profile = {0};
  const prn_profile *given = how->profile ? &profile : NULL;
  prn_pipeline *p = prn_pipeline_create(m->ctx);
  prn_status status = own_passes(m->ctx, r, how, p);
  if (given && status == PRN_OK)
    status = prn_profile_read(prn_ctx_diags(m->ctx), how->profile, &profile);
  if (given && status == PRN_OK) status = prn_profile_check(&profile, m);
  if (how->observe && status == PRN_OK) {
    status = observe(r, how, given, p, m);
    p = prn_pipeline_create(m->ctx);
  }
  if (status == PRN_OK) status = bind_sequences(r, how, m);
  if (how->given && status == PRN_OK) bind_ranks(how, m);
  if (how->bound && status == PRN_OK) status = bind_values(how, m);
  common_text(how, prn_module_dialects(m), &text);
  if (status == PRN_OK)
    status = run(r, how, given, &text, p, m);
  else
    prn_strbuf_destroy(&text);
  prn_profile_clear(&profile);
  return status;
}

static prn_status lower_target(const prn_registry *r, const prn_lowering *how,
                               prn_module *m) {
  prn_strbuf text = {0};
  prn_machine machine;
  prn_file *table;
  prn_status status = PRN_OK;
  uint32_t dialects = prn_module_dialects(m);
  PRN_TRY(open_table(prn_ctx_diags(m->ctx), how, &machine, &table));
  if (how->tune && !how->gpu && dialects & PRN_DIALECT_NN)
    status = prn_tune(m, how, &machine);
  target_text(how, dialects, table ? prn_file_bytes(table) : PRN_STR(""),
              &text);
  prn_file_release(table);
  if (status == PRN_OK)
    return run(r, how, NULL, &text, prn_pipeline_create(m->ctx), m);
  prn_strbuf_destroy(&text);
  return PRN_FAIL;
}

prn_module *prn_lower_copy(const prn_module *m) {
  prn_module *r = prn_module_create(m->ctx);
  prn_ptrmap map = {0};
  r->attrs = m->attrs;
  r->file = m->file;
  PRN_EACH_OP(op, m->body)
    prn_block_append(r->body, prn_op_clone(r, op, &map));
  prn_ptrmap_destroy(&map);
  return r;
}

prn_status prn_lower_planned(prn_module *m, const prn_tile *tile) {
  prn_registry registry = {0};
  prn_strbuf text = {0};
  prn_lowering how = {.tile = *tile};
  memory_text(tile, &text);
  prn_registry_add_all(&registry);
  prn_status s =
      run(&registry, &how, NULL, &text, prn_pipeline_create(m->ctx), m);
  prn_registry_destroy(&registry);
  return s;
}

prn_status prn_lower_variants(prn_ctx *ctx, const char *path,
                              const prn_lowering *how, size_t n,
                              prn_module **out) {
  prn_registry registry = {0};
  prn_module *m;
  PRN_TRY(prn_model_read(ctx, path, &m));
  prn_registry_add_all(&registry);
  prn_status status = lower_common(&registry, &how[0], m);
  for (size_t i = 0; i < n && status == PRN_OK; i++) {
    out[i] = i + 1 < n ? prn_lower_copy(m) : m;
    status = lower_target(&registry, &how[i], out[i]);
  }
  prn_registry_destroy(&registry);
  return status;
}

prn_status prn_lower_file(prn_ctx *ctx, const char *path,
                          const prn_lowering *how, prn_module **out) {
  return prn_lower_variants(ctx, path, how, 1, out);
}

enum { MAX_PREFIX = 200 };

prn_status prn_check_prefix(prn_diag_sink *sink, const char *name) {
  size_t n = strlen(name);
  bool ok = n > 0 && n <= MAX_PREFIX && !isdigit((unsigned char)*name);
  for (const char *p = name; *p; p++)
    ok = ok && (isalnum((unsigned char)*p) || *p == '_');
  if (ok) return PRN_OK;
  return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                       "--prefix='%s' is not a C identifier of at most %d "
                       "characters",
                       name, (int)MAX_PREFIX);
}
