/* prune-profdata: merges calibration profiles, and shows what is in one. */
#include <stdio.h>
#include <string.h>

#include "ir/profile.h"
#include "tools/cli.h"

typedef struct settings {
  const char *output;
} settings;

static const prn_cli_option options[] = {
    PRN_CLI_ROW(TEXT, 'o', settings, output, "output", "FILE.prof",
                "merge: where the result goes, whole or not at all."),
    {PRN_CLI_END, 0, NULL, NULL, NULL, 0, 0, 0},
};

static const prn_cli cli = {
    .tool = "prune-profdata",
    .usage = "merge FILE.prof... -o OUT.prof | show FILE.prof",
    .intro = "Calibration profiles, as prune-run --profile-out writes them. "
             "merge makes one of several: the same as if one run had seen all "
             "the data. show prints a table.",
    .outro = "examples:\n"
             "  prune-profdata merge monday.prof tuesday.prof -o all.prof\n"
             "  prune-profdata show all.prof\n",
    .options = options,
    .min_args = 2,
    .max_args = SIZE_MAX,
    .args = "merge or show, and profiles",
};

static prn_status fail(prn_diag_sink *sink, const char *what) {
  return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""), "%s", what);
}

/* ---- merge ---- */

static prn_status merge(prn_diag_sink *sink, const settings *s,
                        const char *const *paths, size_t n) {
  prn_profile all;
  if (!s->output) return fail(sink, "merge needs an output: -o OUT.prof");
  prn_status status = prn_profile_read(sink, paths[0], &all);
  for (size_t i = 1; i < n && status == PRN_OK; i++) {
    prn_profile next;
    status = prn_profile_read(sink, paths[i], &next);
    if (status == PRN_OK) status = prn_profile_merge(&all, &next, sink);
    prn_profile_clear(&next);
  }
  if (status == PRN_OK) status = prn_profile_write(sink, &all, s->output);
  prn_profile_clear(&all);
  return status;
}

/* ---- show ---- */

static void show_row(const char *name, const double *v, int64_t n) {
  double low = v[0], high = v[0], sum = 0;
  for (int64_t i = 0; i < n; i++) {
    low = v[i] < low ? v[i] : low;
    high = v[i] > high ? v[i] : high;
    sum += v[i] / (double)n;
  }
  printf("  %-10s %14.6g %14.6g %14.6g\n", name, low, sum, high);
}

static void show_one(const prn_observation *o) {
  prn_strbuf name = {0};
  int64_t block = prn_observation_block(o), groups = o->window.groups;
  prn_strbuf_quoted(&name, o->value);
  printf("\n%s axis %d: %lld channels, %lld vectors", name.data, (int)o->axis,
         (long long)(o->channels / prn_window_places(&o->window)),
         (long long)o->count);
  if (block && block == o->channels)
    printf(", full moments");
  else if (block && block == prn_observation_group(o))
    printf(", full moments of %lld groups", (long long)groups);
  else if (block)
    printf(", moments of %lld channels", (long long)block);
  name.size = 0;
  prn_window_print(&o->window, &name);
  if (o->window.axes) printf("\n  window %s", name.data);
  printf("\n");
  prn_strbuf_destroy(&name);
  show_row("mean", o->mean, o->channels);
  show_row("variance", o->variance, o->channels);
  show_row("|x|", o->absolute, o->channels);
  show_row("x > 0", o->positive, o->channels);
}

static prn_status show(prn_diag_sink *sink, const char *path) {
  prn_profile p;
  prn_strbuf moments = {0};
  size_t windows = 0;
  PRN_TRY(prn_profile_read(sink, path, &p));
  prn_profile_moments_print(&p, &moments);
  for (size_t i = 0; i < p.size; i++)
    windows += p.at[i].window.axes != 0;
  printf("model %016llx, %zu values, ", (unsigned long long)p.model,
         p.size - windows);
  if (windows) printf("%zu windows, ", windows);
  printf("%s\n", moments.data);
  prn_strbuf_destroy(&moments);
  printf("  %-10s %14s %14s %14s\n", "channels'", "least", "mean", "largest");
  for (size_t i = 0; i < p.size; i++)
    show_one(&p.at[i]);
  prn_profile_clear(&p);
  return PRN_OK;
}

static prn_status dispatch(prn_diag_sink *sink, const settings *s,
                           const prn_cli_list *args) {
  if (strcmp(args->at[0], "merge") == 0)
    return merge(sink, s, args->at + 1, args->size - 1);
  if (strcmp(args->at[0], "show") != 0)
    return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                         "expected merge or show, found '%s'", args->at[0]);
  if (args->size > 2) return fail(sink, "show takes one profile");
  if (s->output) return fail(sink, "show takes no --output");
  return show(sink, args->at[1]);
}

int main(int argc, char **argv) {
  settings s = {.output = NULL};
  prn_cli_result r = {0};
  prn_diag_sink sink = {0};
  prn_cli_begin();
  prn_status status = prn_cli_parse(&cli, &sink, argc, argv, &s, &r);
  if (status == PRN_OK && !r.done) status = dispatch(&sink, &s, &r.args);
  if (prn_cli_flush(&sink) != PRN_OK) status = PRN_FAIL;
  prn_cli_free(&cli, &s, &r);
  prn_diag_sink_destroy(&sink);
  return status == PRN_OK ? 0 : 1;
}
