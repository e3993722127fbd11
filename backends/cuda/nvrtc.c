/* Compiling kernels by NVRTC, a library that is opened if it is there. Its few
 * functions are declared here, so that no header of NVIDIA's is needed. */
#include <dlfcn.h>
#include <string.h>

#include "backends/cuda/compile.h"
#include "ir/support/arena.h"
#include "ir/support/file.h"

#define FUNCTIONS(X)                                                    \
  X(create, "nvrtcCreateProgram",                                       \
    (void **, const char *, const char *, int, const char *const *,     \
     const char *const *))                                              \
  X(destroy, "nvrtcDestroyProgram", (void **))                          \
  X(compile, "nvrtcCompileProgram", (void *, int, const char *const *)) \
  X(log_size, "nvrtcGetProgramLogSize", (void *, size_t *))             \
  X(log, "nvrtcGetProgramLog", (void *, char *))                        \
  X(cubin_size, "nvrtcGetCUBINSize", (void *, size_t *))                \
  X(cubin, "nvrtcGetCUBIN", (void *, char *))                           \
  X(ptx_size, "nvrtcGetPTXSize", (void *, size_t *))                    \
  X(ptx, "nvrtcGetPTX", (void *, char *))                               \
  X(num_archs, "nvrtcGetNumSupportedArchs", (int *))                    \
  X(archs, "nvrtcGetSupportedArchs", (int *))
#define FIELD(field, symbol, arguments) int(*field) arguments;
typedef struct nvrtc {
  FUNCTIONS(FIELD)
} nvrtc;

/* The headers of a C library that kernels ask for; NVRTC brings none. */
static const char *const header_names[] = {"stdint.h"};
static const char *const header_texts[] = {
    "typedef signed char int8_t;\ntypedef unsigned char uint8_t;\n"
    "typedef short int16_t;\ntypedef unsigned short uint16_t;\n"
    "typedef int int32_t;\ntypedef unsigned uint32_t;\n"
    "typedef long int64_t;\ntypedef unsigned long uint64_t;\n"
    "typedef unsigned long uintptr_t;\ntypedef long intptr_t;\n"
    "#define INT32_MAX 2147483647\n#define INT32_MIN (-INT32_MAX - 1)\n"
    "#define INT64_MAX 9223372036854775807L\n"
    "#define INT64_MIN (-INT64_MAX - 1)\n#define UINT32_MAX 4294967295u\n"};

typedef struct job {
  nvrtc n;
  prn_diag_sink *sink;
  const char *dir, *name;
  prn_str source;
  prn_out *outs[PRN_CU_ARCHS + 2];
  size_t num_outs;
  prn_strbuf list;
} job;

static bool load(nvrtc *n) {
  static const char *const files[] = {"libnvrtc.so.13", "libnvrtc.so.12",
                                      "libnvrtc.so"};
  static const struct {
    const char *symbol;
    size_t offset;
  } entries[] = {
#define ENTRY(field, symbol, arguments) {symbol, offsetof(nvrtc, field)},
      FUNCTIONS(ENTRY)};
  void *library = NULL;
  for (size_t i = 0; i < PRN_COUNT(files) && !library; i++)
    library = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
  for (size_t i = 0; library && i < PRN_COUNT(entries); i++) {
    void *f = dlsym(library, entries[i].symbol);
    if (!f) return false;
    /* From data to a function pointer, which POSIX has and C has not. */
    memcpy((char *)n + entries[i].offset, &f, sizeof f);
  }
  return library != NULL;
}

static prn_status fail(const job *j, const char *what) {
  return prn_diag_emit(j->sink, PRN_ERROR, (prn_loc){0}, (prn_str){0},
                       "%s/%s_kernels.cu: %s", j->dir, j->name, what);
}

/* The library's messages, then ours. */
static prn_status fail_with_log(const job *j, void *program) {
  size_t size = 0;
  prn_strbuf text = {0};
  prn_strbuf_cstr(&text, "NVRTC failed");
  if (j->n.log_size(program, &size) == 0 && size > 1) {
    char *log = prn_alloc(size + 1);
    if (j->n.log(program, log) == 0) {
      log[size] = 0;
      prn_strbuf_fmt(&text, ":\n%s", log);
    }
    prn_free(log);
  }
  prn_status s = fail(j, text.data);
  prn_strbuf_destroy(&text);
  return s;
}

static prn_status add_file(job *j, const char *arch, const char *ending,
                           int capability, const char *data, size_t size) {
  prn_strbuf path = {0};
  prn_strbuf_fmt(&path, "%s/%s_%s.%s", j->dir, j->name, arch, ending);
  prn_status s = prn_out_open(j->sink, path.data, &j->outs[j->num_outs]);
  prn_strbuf_destroy(&path);
  if (s != PRN_OK) return s;
  prn_out_write(j->outs[j->num_outs++], data, size);
  prn_strbuf_fmt(&j->list, "    image \"%s_%s.%s\", %d\n", j->name, arch,
                 ending, capability);
  return PRN_OK;
}

typedef int size_fn(void *, size_t *);
typedef int data_fn(void *, char *);

static prn_status add_code(job *j, void *program, const char *arch,
                           const char *ending, int capability) {
  bool ptx = strcmp(ending, "ptx") == 0;
  size_fn *measure = ptx ? j->n.ptx_size : j->n.cubin_size;
  data_fn *get = ptx ? j->n.ptx : j->n.cubin;
  size_t size = 0;
  if (measure(program, &size) != 0 || size == 0)
    return fail(j, "NVRTC gave no code");
  char *data = prn_alloc(size);
  prn_status s = get(program, data) == 0
                     ? add_file(j, arch, ending, capability, data, size)
                     : fail(j, "NVRTC gave no code");
  prn_free(data);
  return s;
}

/* For one architecture, a real one to its code, a virtual one to PTX. */
static prn_status compile(job *j, const char *arch, int capability) {
  void *program = NULL;
  prn_strbuf option = {0}, include = {0};
  prn_strbuf_fmt(&option, "--gpu-architecture=%s", arch);
  prn_strbuf_fmt(&include, "--include-path=%s", j->dir);
  /* Of math.h, which nvcc includes by itself. */
  const char *const options[] = {
      option.data, include.data, "--std=c++17",
      "--define-macro=INFINITY=__int_as_float(0x7f800000)",
      "--define-macro=NAN=__int_as_float(0x7fffffff)"};
  prn_status s = PRN_OK;
  if (j->n.create(&program, j->source.data, "kernels.cu",
                  (int)PRN_COUNT(header_names), header_texts,
                  header_names) != 0)
    s = fail(j, "NVRTC does not start");
  else if (j->n.compile(program, (int)PRN_COUNT(options), options) != 0)
    s = fail_with_log(j, program);
  else
    s = add_code(j, program, arch, capability ? "cubin" : "ptx", capability);
  if (program) (void)j->n.destroy(&program);
  prn_strbuf_destroy(&include);
  prn_strbuf_destroy(&option);
  return s;
}

static bool supports(const job *j, int capability) {
  enum { MOST = 64 };
  int n = 0, all[MOST];
  if (j->n.num_archs(&n) != 0 || n > MOST || j->n.archs(all) != 0) return true;
  for (int i = 0; i < n; i++)
    if (all[i] == capability) return true;
  return false;
}

static prn_status compile_all(job *j) {
  PRN_TRY(compile(j, prn_cu_archs[0].virtual_arch, 0));
  for (int i = 0; i < PRN_CU_ARCHS; i++)
    if (supports(j, prn_cu_archs[i].capability))
      PRN_TRY(
          compile(j, prn_cu_archs[i].real_arch, prn_cu_archs[i].capability));
  prn_strbuf path = {0};
  prn_strbuf_fmt(&path, "%s/%s_images.inc", j->dir, j->name);
  prn_status s = prn_out_open(j->sink, path.data, &j->outs[j->num_outs]);
  prn_strbuf_destroy(&path);
  if (s != PRN_OK) return s;
  prn_out_write(j->outs[j->num_outs++], j->list.data, j->list.size);
  return PRN_OK;
}

static prn_status read_source(job *j, prn_strbuf *text) {
  prn_file *file;
  prn_strbuf path = {0};
  prn_strbuf_fmt(&path, "%s/%s_kernels.cu", j->dir, j->name);
  prn_status s = prn_file_open(j->sink, path.data, &file);
  prn_strbuf_destroy(&path);
  if (s != PRN_OK) return s;
  prn_strbuf_str(text, prn_file_bytes(file)); /* NVRTC wants a NUL */
  prn_file_release(file);
  return PRN_OK;
}

bool prn_cu_nvrtc(prn_diag_sink *sink, const char *dir, const char *name,
                  prn_status *out, prn_strbuf *how) {
  job j = {.sink = sink, .dir = dir, .name = name};
  prn_strbuf text = {0};
  if (!load(&j.n)) return false;
  prn_status s = read_source(&j, &text);
  j.source = prn_strbuf_view(&text);
  if (s == PRN_OK) s = compile_all(&j);
  if (s == PRN_OK) {
    s = prn_out_commit_all(j.outs, j.num_outs);
    prn_strbuf_cstr(how, "compiled by NVRTC");
  } else {
    for (size_t i = 0; i < j.num_outs; i++)
      prn_out_abandon(j.outs[i]);
  }
  prn_strbuf_destroy(&j.list);
  prn_strbuf_destroy(&text);
  *out = s;
  return true;
}
