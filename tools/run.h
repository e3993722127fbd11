/* The parts of prune-run. */
#ifndef PRN_TOOLS_RUN_H
#define PRN_TOOLS_RUN_H

#include "backends/llvm/compile.h"
#include "ir/profile.h"
#include "tools/lowering.h"
#include "tools/runner.h"

typedef struct prn_run_settings {
  const char *outputs, *compare, *march, *precision, *recipe, *pipeline,
      *profile, *reference, *moments, *table, *tune;
  prn_cli_list inputs, input, dims, elements, observe, profile_out, defines;
  int64_t threads, random_inputs, batch, memory;
  double bench, rtol;
  bool json, onnx_test, verbose, profile_kernels, profile_layers, calibrate;
} prn_run_settings;

/* A model that is ready to run. */
typedef struct prn_loaded {
  prn_program *program;
  prn_runner runner;
  prn_kernel_times profile; /* with --profile-kernels */
  bool specialised;         /* for the inputs it was loaded with */
} prn_loaded;

/* Compiles a model in process, or opens a library made by prunec. Where a
 * model cannot be compiled for open sizes it is compiled for those of the
 * given inputs (NULL: there are none), or of --dim; inputs whose values decide
 * sizes then keep the given ones. observe: NULL, or what
 * prn_lowering asks for. */
PRN_NODISCARD prn_status prn_run_load(prn_ctx *ctx, const char *path,
                                      const prn_run_settings *s,
                                      const prn_arrays *inputs,
                                      prn_profile *observe, prn_loaded *out);
void prn_run_unload(prn_loaded *l);

/* Whether the options name inputs, rather than leaving them to chance. */
bool prn_run_has_inputs(const prn_run_settings *s);

/* An input or output of a model, which may be a sequence or an optional. */
typedef struct prn_port {
  prn_str name;
  const prn_type *type; /* `any` when it is not declared */
} prn_port;

/* The inputs and outputs of a model; read when it is asked for. */
typedef struct prn_interface {
  prn_port *in, *out;
  size_t num_in, num_out;
  bool known;
  bool arrays;           /* all inputs are numbers, which arrays can hold */
  prn_cli_list elements; /* what sequences and optionals among the inputs hold,
                            as --elements has it: the user's, and as was read */
} prn_interface;
/* Finds them, where they are not known. */
PRN_NODISCARD prn_status prn_run_find_interface(prn_ctx *ctx, const char *model,
                                                prn_interface *face);
/* The files that --inputs names, those of folders among them; one NULL where
 * all inputs come from --input, or are random. Free out->at. */
PRN_NODISCARD prn_status prn_run_list_inputs(prn_ctx *ctx,
                                             const prn_run_settings *s,
                                             prn_cli_list *out);
/* The inputs that the options name, those of `file` (NULL: of none) among
 * them. */
PRN_NODISCARD prn_status prn_run_read_inputs(prn_ctx *ctx, const char *model,
                                             const prn_run_settings *s,
                                             const char *file,
                                             prn_interface *face,
                                             prn_arrays *out);
/* Appends the tensors of a file with one value of the port's type, named as a
 * compiled model does: x, or x[0], x[1], ... of a sequence. `elements`: NULL,
 * or a list to which is appended what a sequence or an optional holds. */
PRN_NODISCARD prn_status prn_run_read_value(prn_ctx *ctx, const char *path,
                                            const prn_port *port,
                                            prn_cli_list *elements,
                                            prn_arrays *out);

/* Arrays that hold several samples along their first axis are run in parts:
 * those that have one axis more than the model's input, more than the size that
 * the model fixes, or more than `batch` (0: any number). *out is 0 where none
 * does. */
PRN_NODISCARD prn_status prn_run_count_parts(const prn_runner *r,
                                             const prn_arrays *in,
                                             int64_t batch, int64_t *out);
/* Appends copies of one part of each input. */
PRN_NODISCARD prn_status prn_run_take_part(const prn_runner *r,
                                           const prn_arrays *in, int64_t batch,
                                           int64_t part, prn_arrays *out);
/* Random ones. */
PRN_NODISCARD prn_status prn_run_random_inputs(prn_loaded *l,
                                               const prn_run_settings *s,
                                               prn_arrays *out);

/* Runs for `seconds` and prints times, as text or one JSON object. */
PRN_NODISCARD prn_status prn_run_bench(prn_runner *r, const prn_arrays *inputs,
                                       const prn_arrays *outputs,
                                       double seconds, bool json);

/* The profile to compile with, and what it found in the time --bench gives: a
 * table, longest first (kernels alike in one row unless verbose), or one JSON
 * object in the order of the program. */
void prn_run_profile_init(prn_kernel_times *p, int64_t threads);
PRN_NODISCARD prn_status prn_run_profile(prn_runner *r,
                                         const prn_kernel_times *p,
                                         const prn_arrays *inputs,
                                         const prn_arrays *outputs,
                                         const prn_run_settings *s);

/* How two arrays differ, in float64. Infinities and NaNs that both hold in the
 * same place are no difference, and count for nothing. */
typedef struct prn_difference {
  double max_abs;           /* largest |a - b| */
  double rel_l2;            /* ||a - b|| / ||b||, 0 when both are 0 */
  double cosine;            /* of the angle between them; 1 when equal */
  int64_t rows, same_class; /* rows of the last dimension, equal argmax */
  bool comparable;          /* types and sizes agree */
} prn_difference;
prn_difference prn_array_compare(const prn_array *a, const prn_array *b);

/* Prints the differences of outputs from those of `other` (.npz, a model or a
 * library, run on the same inputs). */
PRN_NODISCARD prn_status prn_run_compare(prn_ctx *ctx,
                                         const prn_run_settings *s,
                                         const prn_arrays *inputs,
                                         const prn_arrays *outputs);

/* Runs the model at path on every input file and writes statistics of what
 * weights are multiplied with to each of s->profile_out: see ir/profile.h. */
PRN_NODISCARD prn_status prn_run_observe(prn_ctx *ctx,
                                         const prn_run_settings *s,
                                         const char *path);

/* Runs ONNX test directories; ends with "N passed, N failed". Fails when one
 * of them did. */
PRN_NODISCARD prn_status prn_run_onnx_tests(const prn_run_settings *s,
                                            const char *const *dirs, size_t n);

#endif
