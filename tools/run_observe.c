/* prune-run --profile-out: statistics of what weights are multiplied with.
 *
 * The model is compiled once, with these values as outputs, and run on one
 * input file after the other. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/progress.h"
#include "tools/run.h"

static prn_status fail(prn_ctx *ctx, const char *file, const char *what) {
  return prn_diag_emit(prn_ctx_diags(ctx), PRN_ERROR, (prn_loc){.file = file},
                       PRN_STR(""), "%s", what);
}

/* ---- running ---- */

typedef struct observer {
  prn_ctx *ctx;
  const prn_run_settings *s;
  prn_loaded loaded, reference;
  prn_profile profile, ignored; /* what to observe; of the reference */
  prn_profile *dealt;           /* a profile for each file to be written */
  size_t num_dealt, runs;
  prn_interface face;
  bool few; /* fewer input files than profiles */
} observer;

/* What all moments take, once it is known how large values are. */
static prn_status check_memory(const observer *o, const prn_arrays *out,
                               bool paired) {
  double all = 0, most;
  if (o->s->memory)
    most = (double)o->s->memory * 1e6;
  else
    most = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 2;
  for (size_t i = 0; i < o->profile.size; i++) {
    const prn_observation *seen = &o->profile.at[i];
    const prn_array *a = prn_arrays_find(out, seen->value);
    int64_t axis = a && seen->axis < 0 ? seen->axis + a->rank : seen->axis;
    if (a && axis >= 0 && axis < a->rank)
      all += prn_observation_bytes(seen, a->dims[axis], paired);
  }
  all *= (double)o->num_dealt;
  if (all <= most) return PRN_OK;
  return prn_diag_emit(
      prn_ctx_diags(o->ctx), PRN_ERROR, (prn_loc){0}, PRN_STR(""),
      "the profile would take %.0f MB of memory, more than the %.0f MB of "
      "--profile-memory; --profile-moments=block:N takes less, and so do some "
      "values at a time (--observe)",
      all / 1e6, most / 1e6);
}

/* before: what the reference shows, or NULL. */
static prn_status take(observer *o, const prn_arrays *out,
                       const prn_arrays *before) {
  if (o->runs == 0) PRN_TRY(check_memory(o, out, before != NULL));
  prn_profile *p = &o->dealt[o->runs++ % o->num_dealt];
  for (size_t i = 0; i < p->size; i++) {
    prn_str name = p->at[i].value;
    const prn_array *a = prn_arrays_find(out, name), *b = NULL;
    if (before) b = prn_arrays_find(before, name);
    if (!a || (before && !b))
      return fail(o->ctx, NULL, "the model does not show what it should");
    prn_sample is = {a->dtype, a->rank, a->dims, a->data}, was = is;
    if (b) was = (prn_sample){b->dtype, b->rank, b->dims, b->data};
    PRN_TRY(prn_profile_observe_pair(p, i, &is, b ? &was : NULL,
                                     (unsigned)o->s->threads,
                                     prn_ctx_diags(o->ctx)));
  }
  return PRN_OK;
}

static prn_status run_one(prn_loaded *l, const prn_arrays *in,
                          prn_arrays *out) {
  PRN_TRY(prn_runner_prepare(&l->runner, in, out));
  return prn_runner_run(&l->runner, in, out);
}

static prn_status run_once(observer *o, const prn_arrays *in) {
  prn_arrays out = {0}, before = {0};
  bool paired = o->reference.program != NULL;
  prn_status status = run_one(&o->loaded, in, &out);
  if (status == PRN_OK && paired) status = run_one(&o->reference, in, &before);
  if (status == PRN_OK) status = take(o, &out, paired ? &before : NULL);
  prn_arrays_destroy(&out);
  prn_arrays_destroy(&before);
  return status;
}

/* The batch that cuts inputs of one run into as many as there are profiles. */
static int64_t batch_for_all(const observer *o, const prn_arrays *in) {
  const prune_model *m = o->loaded.runner.model;
  int64_t parts = (int64_t)o->num_dealt;
  for (uint32_t i = 0; i < m->num_inputs; i++) {
    const prn_array *a = prn_arrays_find(in, prn_str_from(m->inputs[i].name));
    if (a && a->rank > 0 && a->rank == m->inputs[i].rank &&
        m->inputs[i].dims[0] < 0)
      return (a->dims[0] + parts - 1) / parts;
  }
  return 0;
}

static prn_status run_parts(observer *o, const prn_arrays *in) {
  const prn_runner *r = &o->loaded.runner;
  int64_t parts, batch = o->s->batch;
  if (o->few && batch == 0) batch = batch_for_all(o, in);
  PRN_TRY(prn_run_count_parts(r, in, batch, &parts));
  if (parts == 0) return run_once(o, in);
  for (int64_t i = 0; i < parts; i++) {
    prn_arrays part = {0};
    prn_status status = prn_run_take_part(r, in, batch, i, &part);
    if (status == PRN_OK) status = run_once(o, &part);
    prn_arrays_destroy(&part);
    PRN_TRY(status);
  }
  return PRN_OK;
}

/* A profile of the same values for each file. */
static void deal_out(observer *o) {
  for (size_t k = 0; k < o->num_dealt; k++) {
    prn_profile *p = &o->dealt[k];
    p->model = o->profile.model;
    p->block = o->profile.block;
    for (size_t i = 0; i < o->profile.size; i++) {
      const prn_observation *from = &o->profile.at[i];
      size_t to =
          prn_profile_add_window(p, from->value, from->axis, &from->window);
      p->at[to].block = from->block;
    }
  }
}

static prn_status load(observer *o, const char *model, const prn_arrays *in) {
  prn_run_settings s = *o->s;
  if (in) s.elements = o->face.elements;
  PRN_TRY(prn_run_load(o->ctx, model, &s, in, &o->profile, &o->loaded));
  deal_out(o);
  if (!s.reference) return PRN_OK;
  return prn_run_load(o->ctx, s.reference, &s, in, &o->ignored, &o->reference);
}

/* The first file's arrays decide on open sizes, if the model needs that. */
static prn_status run_file(observer *o, const char *model, const char *file) {
  prn_arrays in = {0};
  bool given = prn_run_has_inputs(o->s);
  prn_status status = PRN_OK;
  if (given)
    status = prn_run_read_inputs(o->ctx, model, o->s, file, &o->face, &in);
  if (status == PRN_OK && !o->loaded.program)
    status = load(o, model, given ? &in : NULL);
  if (status == PRN_OK && !given)
    status = prn_run_random_inputs(&o->loaded, o->s, &in);
  if (status == PRN_OK) status = run_parts(o, &in);
  prn_arrays_destroy(&in);
  if (status != PRN_OK && file)
    (void)prn_diag_emit(prn_ctx_diags(o->ctx), PRN_NOTE,
                        (prn_loc){.file = file}, PRN_STR(""),
                        "while running on this file");
  return status;
}

static prn_status run_all(observer *o, const char *model,
                          const prn_cli_list *all) {
  prn_progress progress;
  prn_status status = PRN_OK;
  prn_progress_begin(&progress, all->size);
  for (size_t i = 0; i < all->size && status == PRN_OK; i++) {
    prn_progress_step(&progress, all->at[i] ? all->at[i] : model);
    status = run_file(o, model, all->at[i]);
  }
  prn_progress_end(&progress);
  if (status == PRN_OK && o->profile.size == 0)
    return fail(o->ctx, model, "the model has no weights to observe inputs of");
  if (status == PRN_OK && o->runs < o->num_dealt)
    return fail(o->ctx, model,
                "there are fewer runs than profiles to make: more input files, "
                "or --batch, make more");
  return status;
}

static prn_status check_settings(prn_ctx *ctx, const prn_run_settings *s) {
  if (s->outputs || s->compare || s->profile_kernels || s->bench >= 0)
    return fail(ctx, NULL,
                "--profile-out goes with none of --outputs, --compare, "
                "--bench, --profile-kernels");
  return PRN_OK;
}

static void report(const observer *o) {
  size_t values = 0;
  for (size_t i = 0; i < o->profile.size; i++)
    values += o->profile.at[i].window.axes == 0;
  for (size_t i = 0; i < o->num_dealt; i++) {
    size_t n = o->num_dealt, runs = (o->runs + n - 1 - i) / n;
    if (strcmp(o->s->profile_out.at[i], "-") == 0) continue;
    printf("%s: %zu values of %zu run%s\n", o->s->profile_out.at[i], values,
           runs, runs == 1 ? "" : "s");
  }
}

static prn_status write_all(const observer *o) {
  for (size_t i = 0; i < o->num_dealt; i++) {
    prn_profile_settle(&o->dealt[i]);
    PRN_TRY(prn_profile_write(prn_ctx_diags(o->ctx), &o->dealt[i],
                              o->s->profile_out.at[i]));
  }
  return PRN_OK;
}

static prn_status read_moments(prn_ctx *ctx, const prn_run_settings *s,
                               int64_t *block) {
  static const char blocks[] = "block:";
  const char *text = s->moments ? s->moments : "diagonal";
  char *end;
  *block = strcmp(text, "full") == 0 ? PRN_PROFILE_FULL : 0;
  if (*block || strcmp(text, "diagonal") == 0) return PRN_OK;
  if (strncmp(text, blocks, sizeof blocks - 1) == 0) {
    *block = strtoll(text + sizeof blocks - 1, &end, 10);
    if (*end == '\0' && *block > 0 && *block <= INT32_MAX) return PRN_OK;
  }
  return fail(ctx, NULL,
              "--profile-moments is diagonal, full or block:N, N channels");
}

prn_status prn_run_observe(prn_ctx *ctx, const prn_run_settings *s,
                           const char *path) {
  prn_cli_list all = {0};
  size_t n = s->profile_out.size;
  observer o = {.ctx = ctx, .s = s, .num_dealt = n};
  prn_status status = check_settings(ctx, s);
  o.dealt = prn_alloc(prn_array_size(n, sizeof *o.dealt));
  memset(o.dealt, 0, n * sizeof *o.dealt);
  /* All runs have arrays of the same sizes: the heap keeps their pages. */
  (void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
  (void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
  if (status == PRN_OK) status = read_moments(ctx, s, &o.profile.block);
  if (status == PRN_OK) status = prn_run_list_inputs(ctx, s, &all);
  o.few = all.size < n;
  if (status == PRN_OK) status = run_all(&o, path, &all);
  if (status == PRN_OK) status = write_all(&o);
  if (status == PRN_OK) report(&o);
  prn_run_unload(&o.loaded);
  prn_run_unload(&o.reference);
  prn_profile_clear(&o.profile);
  prn_profile_clear(&o.ignored);
  for (size_t i = 0; i < n; i++)
    prn_profile_clear(&o.dealt[i]);
  prn_free(o.dealt);
  prn_free(all.at);
  return status;
}
