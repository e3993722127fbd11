#include "passes/manager.h"

#include <string.h>

#include "ir/fingerprint.h"
#include "passes/remark.h"

enum { MAX_DEPTH = 64 };

/* Weights whose turn it is, among those of the turns around it. */
typedef struct turn {
  const prn_map *names;
  const struct turn *around;
} turn;

struct prn_pass_run {
  const prn_run_config *config;
  const prn_profile *profile; /* of the data, as it is now */
  const prn_seen *seen;       /* what it is in, or NULL */
  prn_seen moved;             /* what a pass made of it, or empty */
  const turn *turn;           /* NULL: everybody's */
  prn_module *module;
  prn_analyses *analyses;
  prn_arena scratch;
  const prn_pipeline_item *groups[MAX_DEPTH + 1]; /* enclosing, outer first */
  unsigned depth, index;
};

static prn_pass_env env_of(prn_pass_run *run, prn_ctx *ctx,
                           const prn_pipeline_item *item) {
  return (prn_pass_env){
      .ctx = ctx,
      .pass = item->pass,
      .opts = item->opts,
      .stats = item->stats,
      .scratch = &run->scratch,
      .analyses = run->analyses,
      .threads = run->config->threads ? run->config->threads : 1,
      .item = item,
      .state = run,
  };
}

/* ---- what passes call ---- */

prn_status prn_pass_error(const prn_pass_env *env, const char *fmt, ...) {
  prn_strbuf b = {0};
  va_list ap;
  va_start(ap, fmt);
  prn_strbuf_vfmt(&b, fmt, ap);
  va_end(ap);
  (void)prn_diag_emit(prn_ctx_diags(env->ctx), PRN_ERROR, (prn_loc){0},
                      (prn_str){"", 0}, "%s: %s", env->pass->name, b.data);
  prn_strbuf_destroy(&b);
  return PRN_FAIL;
}

void prn_pass_warning(const prn_pass_env *env, const char *fmt, ...) {
  prn_strbuf b = {0};
  va_list ap;
  va_start(ap, fmt);
  prn_strbuf_vfmt(&b, fmt, ap);
  va_end(ap);
  (void)prn_diag_emit(prn_ctx_diags(env->ctx), PRN_WARNING, (prn_loc){0},
                      (prn_str){"", 0}, "%s: %s", env->pass->name, b.data);
  prn_strbuf_destroy(&b);
}

void prn_pass_print(const prn_pass_env *env, const char *fmt, ...) {
  prn_strbuf *out = env->state->config->out;
  va_list ap;
  if (!out) return;
  va_start(ap, fmt);
  prn_strbuf_vfmt(out, fmt, ap);
  va_end(ap);
}

bool prn_pass_given(const prn_pass_env *env, const char *option) {
  for (int i = 0; env->pass->options[i].name; i++)
    if (strcmp(env->pass->options[i].name, option) == 0)
      return env->item->given >> i & 1;
  return false;
}

bool prn_pass_remarks(const prn_pass_env *env) {
  return env->state->config->remarks != NULL;
}

void prn_pass_remark(const prn_pass_env *env, const prn_op *op,
                     prn_reason reason, const char *fmt, ...) {
  prn_remarks *remarks = env->state->config->remarks;
  va_list ap;
  if (!remarks) return;
  va_start(ap, fmt);
  prn_remarks_vadd(remarks, env->pass->name, op, reason, fmt, ap);
  va_end(ap);
}

const prn_profile *prn_pass_profile(const prn_pass_env *env) {
  return env->state->profile;
}

prn_status prn_pass_need_profile(const prn_pass_env *env, const char *with) {
  if (prn_pass_profile(env)) return PRN_OK;
  return prn_pass_error(env,
                        "needs a profile: --profile=FILE, made by prune-run "
                        "MODEL --inputs=... %s--profile-out=FILE",
                        with);
}

size_t prn_pass_folds(const prn_pass_env *env) {
  return env->state->seen ? env->state->seen->folds : 0;
}

const prn_profile *prn_pass_fold(const prn_pass_env *env, size_t i) {
  return i < prn_pass_folds(env) ? &env->state->seen->fold[i] : NULL;
}

void prn_seen_clear(prn_seen *s) {
  prn_profile_clear(&s->all);
  for (size_t i = 0; i < s->folds; i++)
    prn_profile_clear(&s->fold[i]);
  s->folds = 0;
}

void prn_pass_set_profile(const prn_pass_env *env, prn_seen *s) {
  prn_pass_run *run = env->state;
  prn_seen_clear(&run->moved);
  run->moved = *s;
  run->profile = &run->moved.all;
  run->seen = &run->moved;
  *s = (prn_seen){0};
}

bool prn_pass_has_data(const prn_pass_env *env) {
  return env->state->config->observer != NULL;
}

prn_status prn_pass_run_on_data(const prn_pass_env *env, prn_module *m,
                                const prn_str *values, size_t n, int64_t block,
                                prn_profile *out) {
  prn_observer *o = env->state->config->observer;
  return o->observe(o, m, values, n, block, out, 1);
}

prn_status prn_pass_see_data(const prn_pass_env *env, prn_module *m,
                             const prn_str *values, size_t n, int64_t block,
                             size_t folds, prn_seen *out) {
  prn_observer *o = env->state->config->observer;
  *out = (prn_seen){.folds = folds};
  if (!folds) return prn_pass_run_on_data(env, m, values, n, block, &out->all);
  prn_status status = o->observe(o, m, values, n, block, out->fold, folds);
  out->all.model = out->fold[0].model;
  out->all.block = block;
  for (size_t i = 0; i < folds && status == PRN_OK; i++)
    status =
        prn_profile_merge(&out->all, &out->fold[i], prn_ctx_diags(env->ctx));
  if (status != PRN_OK) prn_seen_clear(out);
  return status;
}

prn_status prn_pass_pair_data(const prn_pass_env *env, prn_module *m) {
  prn_observer *o = env->state->config->observer;
  return o->pair(o, m);
}

bool prn_pass_has_turn(const prn_pass_env *env, prn_str name) {
  for (const turn *t = env->state->turn; t; t = t->around)
    if (!prn_map_find(t->names, name)) return false;
  return true;
}

prn_status prn_profile_check(const prn_profile *p, const prn_module *m) {
  uint64_t found = prn_module_fingerprint(m);
  if (found == p->model) return PRN_OK;
  return prn_diag_emit(
      prn_ctx_diags(m->ctx), PRN_ERROR, (prn_loc){.file = p->path}, PRN_STR(""),
      "the profile is of another model: of %016llx, but '%s' is %016llx",
      (unsigned long long)p->model, m->file ? m->file : "the input",
      (unsigned long long)found);
}

const prn_pipeline_item *prn_pass_group(const prn_pass_env *env,
                                        unsigned depth) {
  const prn_pass_run *run = env->state;
  return depth < run->depth ? run->groups[depth] : NULL;
}

/* ---- running ---- */

static void notify(prn_pass_run *run, const prn_pass_event *e, bool after) {
  for (size_t i = 0; i < run->config->num_instruments; i++) {
    prn_instrument *in = run->config->instruments[i];
    void (*hook)(prn_instrument *, const prn_pass_event *) =
        after ? in->after : in->before;
    if (hook) hook(in, e);
  }
}

static prn_status ask(prn_pass_run *run, const prn_pass_event *e) {
  for (size_t i = 0; i < run->config->num_instruments; i++) {
    prn_instrument *in = run->config->instruments[i];
    if (in->check) PRN_TRY(in->check(in, e));
  }
  return PRN_OK;
}

/* "onnx, nn" for a mask. */
static void dialect_names(uint32_t mask, prn_strbuf *b) {
  static const char *const names[] = {"onnx", "nn", "mem"};
  for (size_t i = 0; i < PRN_COUNT(names); i++)
    if (mask >> i & 1) prn_strbuf_fmt(b, "%s%s", b->size ? ", " : "", names[i]);
}

static prn_status check_dialects(const prn_pass_env *env, prn_module *m,
                                 uint32_t allowed, const char *what) {
  if (allowed == PRN_ANY_DIALECT) return PRN_OK;
  uint32_t bad = prn_module_dialects(m) & ~allowed;
  if (!bad) return PRN_OK;
  prn_strbuf found = {0}, wanted = {0};
  dialect_names(bad, &found);
  dialect_names(allowed, &wanted);
  (void)prn_pass_error(env, "%s dialect %s; expected only %s", what, found.data,
                       wanted.data);
  prn_strbuf_destroy(&found);
  prn_strbuf_destroy(&wanted);
  return PRN_FAIL;
}

static prn_status check_kept(const prn_pass_env *env, uint32_t keeps) {
  uint32_t broken = prn_analyses_broken(env->analyses, keeps);
  for (unsigned i = 0; i < PRN_ANALYSIS_COUNT; i++)
    if (broken >> i & 1)
      (void)prn_pass_error(env,
                           "says that it keeps the analysis '%s', but "
                           "changed what it found",
                           prn_analysis_table[i]->name);
  return broken ? PRN_FAIL : PRN_OK;
}

static prn_status checked(const prn_pass_env *env, prn_module *m) {
  const prn_pass *p = env->pass;
  prn_pass_env own = *env;
  PRN_TRY(check_dialects(env, m, p->reads, "does not read"));
  PRN_TRY(prn_analyses_need(env->analyses, p->needs));
  PRN_TRY(p->run(&own, m));
  PRN_TRY(check_dialects(env, m, p->writes, "left operations of"));
  if (p->nests) return PRN_OK; /* its body was checked pass by pass */
  if (env->state->config->verify_each) PRN_TRY(check_kept(env, p->keeps));
  prn_analyses_keep(env->analyses, p->keeps);
  if (env->state->config->verify_each && env->state->config->verify &&
      env->state->config->verify(m) != PRN_OK)
    return prn_pass_error(env, "left an invalid module");
  return PRN_OK;
}

static prn_status run_item(prn_pass_run *run, prn_pipeline_item *item) {
  prn_module *m = run->module;
  prn_pass_env env = env_of(run, m->ctx, item);
  prn_pass_event e = {item, m, ++run->index, run->depth, false};
  notify(run, &e, false);
  bool leaf = !item->pass->nests;
  if (leaf && run->config->measure) prn_memory_reset_peak();
  double start = prn_seconds();
  item->ran = true;
  prn_status status = checked(&env, m);
  item->wall_s += prn_seconds() - start;
  if (leaf && run->config->measure) {
    prn_memory now = prn_memory_now();
    if (now.peak_rss > item->peak_rss) item->peak_rss = now.peak_rss;
    item->private_bytes = now.private_now;
  }
  if (leaf) prn_arena_reset(&run->scratch);
  if (status == PRN_OK) status = ask(run, &e);
  e.failed = status != PRN_OK;
  notify(run, &e, true);
  return status;
}

static prn_status run_items(prn_pass_run *run, const prn_pipeline *p) {
  for (size_t i = 0; i < p->size; i++)
    PRN_TRY(run_item(run, p->items[i]));
  return PRN_OK;
}

prn_status prn_pass_run_body(prn_pass_env *env) {
  prn_pass_run *run = env->state;
  if (run->depth == MAX_DEPTH)
    return prn_pass_error(env, "pipelines are nested too deeply");
  run->groups[run->depth++] = env->item;
  prn_status status = run_items(run, env->item->body);
  run->depth--;
  return status;
}

prn_status prn_pass_run_body_on(prn_pass_env *env, const prn_seen *seen,
                                const prn_map *names) {
  prn_pass_run *run = env->state;
  const prn_profile *before = run->profile;
  const prn_seen *before_seen = run->seen;
  turn now = {names, run->turn};
  run->profile = &seen->all;
  run->seen = seen;
  run->turn = &now;
  prn_status status = prn_pass_run_body(env);
  run->profile = before;
  run->seen = before_seen;
  run->turn = now.around;
  return status;
}

static prn_status check_items(prn_pass_run *run, prn_ctx *ctx,
                              const prn_pipeline *p) {
  prn_status status = PRN_OK;
  for (size_t i = 0; i < p->size; i++) {
    const prn_pipeline_item *item = p->items[i];
    prn_pass_env env = env_of(run, ctx, item);
    if (item->pass->check && item->pass->check(&env) != PRN_OK)
      status = PRN_FAIL;
    if (item->body && check_items(run, ctx, item->body) != PRN_OK)
      status = PRN_FAIL;
  }
  return status;
}

prn_status prn_pipeline_run(const prn_pipeline *p, prn_module *m,
                            const prn_run_config *config) {
  prn_pass_run run = {
      .config = config, .profile = config->profile, .module = m};
  prn_status status = check_items(&run, m->ctx, p);
  if (status == PRN_OK) {
    run.analyses = prn_analyses_create(m);
    status = run_items(&run, p);
    prn_analyses_destroy(run.analyses);
  }
  prn_seen_clear(&run.moved);
  prn_arena_destroy(&run.scratch);
  return status;
}
