/* Opening the driver and the libraries: tables of functions that are filled by
 * name, and the versions that these tables are right for. */
#include <dlfcn.h>
#include <string.h>

#include "prune_cuda_impl.h"

/* The place of a function pointer in a table, by the name it is found under. */
typedef struct entry {
  const char *symbol;
  size_t offset;
} entry;
#define DRIVER_ENTRY(field, symbol, arguments) \
  {symbol, offsetof(pcu_driver, field)},
#define LT_ENTRY(field, symbol, arguments) \
  {symbol, offsetof(pcu_blaslt, field)},
#define SLT_ENTRY(field, symbol, arguments) \
  {symbol, offsetof(pcu_sparselt, field)},
#define SP_ENTRY(field, symbol, arguments) \
  {symbol, offsetof(pcu_sparse, field)},
#define DNN_ENTRY(field, symbol, arguments) \
  {symbol, offsetof(pcu_cudnn, field)},
static const entry driver_entries[] = {PCU_DRIVER(DRIVER_ENTRY){NULL, 0}};
static const entry lt_entries[] = {
    PCU_BLASLT(LT_ENTRY){"cublasLtGetVersion", offsetof(pcu_blaslt, version)},
    {NULL, 0}};
static const entry slt_entries[] = {PCU_SPARSELT(SLT_ENTRY){NULL, 0}};
static const entry sp_entries[] = {PCU_SPARSE(SP_ENTRY){NULL, 0}};
static const entry dnn_entries[] = {
    PCU_CUDNN(DNN_ENTRY){"cudnnGetVersion", offsetof(pcu_cudnn, version)},
    {NULL, 0}};

/* The files that a library may be in, best first. They stay open: threads of
 * theirs may outlive a context. */
static const char *const driver_files[] = {"libcuda.so.1", NULL};
static const char *const lt_files[] = {"libcublasLt.so.13", "libcublasLt.so.12",
                                       NULL};
static const char *const slt_files[] = {"libcusparseLt.so.0", NULL};
static const char *const sp_files[] = {"libcusparse.so.12", NULL};
static const char *const dnn_files[] = {"libcudnn.so.9", NULL};

static void *open_first(const char *const *files) {
  void *library = NULL;
  for (; *files && !library; files++)
    library = dlopen(*files, RTLD_NOW | RTLD_LOCAL);
  return library;
}

/* The first symbol that is missing, "" for all of them, NULL for none. */
static const char *fill(const prune_cuda_options *o, const char *name,
                        const char *const *files, const entry *entries,
                        void *table) {
  void *library = o->symbol ? NULL : open_first(files);
  if (!o->symbol && !library) return "";
  for (const entry *e = entries; e->symbol; e++) {
    void *f = o->symbol ? o->symbol(o->symbol_user, name, e->symbol)
                        : dlsym(library, e->symbol);
    if (!f) return e == entries ? "" : e->symbol;
    /* From data to a function pointer, which POSIX has and C has not. */
    memcpy((char *)table + e->offset, &f, sizeof f);
  }
  return NULL;
}

prune_cuda_status pcu_load_driver(prune_cuda_ctx *c) {
  const char *missing =
      fill(&c->options, "cuda", driver_files, driver_entries, &c->cu);
  if (missing) {
    pcu_log(&c->options, 0,
            *missing ? "the driver has no %s: CUDA 12.0 is needed"
                     : "there is no driver (libcuda.so.1)%s",
            missing);
    return PRUNE_CUDA_E_NO_DRIVER;
  }
  int code = c->cu.init(0);
  if (code) {
    (void)pcu_said(PCU_CUDA, code, pcu_driver_symbols.init);
    pcu_log(&c->options, 0, "the driver does not start: error %d", code);
    return code == PCU_NO_DEVICE ? PRUNE_CUDA_E_NO_DEVICE
                                 : PRUNE_CUDA_E_NO_DRIVER;
  }
  PCU_TRY(PCU_CU(c, driver_version, &c->driver_version));
  c->versions[PCU_CUDA] = (uint64_t)c->driver_version;
  if (c->driver_version >= PCU_DRIVER_VERSION) return PRUNE_CUDA_OK;
  pcu_log(&c->options, 0, "the driver is for CUDA %d.%d: 12.0 is needed",
          c->driver_version / 1000, c->driver_version % 1000 / 10);
  return PRUNE_CUDA_E_NO_DRIVER;
}

static pcu_reason failed(prune_cuda_ctx *c, int library, int code,
                         const char *what) {
  (void)pcu_said(library, code, what);
  c->lib_codes[library] = code;
  return PCU_REFUSED;
}

static pcu_reason load_lt(prune_cuda_ctx *c) {
  if (fill(&c->options, "cublasLt", lt_files, lt_entries, &c->lt))
    return PCU_MISSING;
  size_t version = c->lt.version();
  c->versions[PCU_LT] = version;
  /* Numbers of attributes are those of 12; what 14 changes is not known. */
  if (version < 120000 || version >= 140000) return PCU_OLD;
  int code = c->lt.create(&c->lt_handle);
  return code ? failed(c, PCU_LT, code, "cublasLtCreate") : PCU_TAKEN;
}

/* A version of three parts, each asked for. */
static pcu_reason ask_version(prune_cuda_ctx *c, int library,
                              int (*property)(int, int *), const char *what,
                              int v[3]) {
  for (int i = 0; i < 3; i++) {
    int code = property(i, &v[i]);
    if (code) return failed(c, library, code, what);
  }
  c->versions[library] =
      (uint64_t)v[0] * 1000000 + (uint64_t)v[1] * 1000 + (uint64_t)v[2];
  return PCU_TAKEN;
}

/* The version is asked for before any structure is: their size depends on
 * it, and the name of the file does not. */
static pcu_reason load_slt(prune_cuda_ctx *c) {
  int v[3] = {0};
  if (fill(&c->options, "cusparseLt", slt_files, slt_entries, &c->slt))
    return PCU_MISSING;
  pcu_reason why =
      ask_version(c, PCU_SLT, c->slt.property, "cusparseLtGetProperty", v);
  if (why != PCU_TAKEN) return why;
  if (v[0] != 0 || v[1] < 8) return PCU_OLD;
  int code = c->slt.init(&c->slt_handle);
  return code ? failed(c, PCU_SLT, code, "cusparseLtInit") : PCU_TAKEN;
}

/* Products of blocks came with 12.5.1 (CUDA 12.5, update 1). */
static pcu_reason load_sp(prune_cuda_ctx *c) {
  int v[3] = {0};
  if (fill(&c->options, "cusparse", sp_files, sp_entries, &c->sp))
    return PCU_MISSING;
  pcu_reason why =
      ask_version(c, PCU_SP, c->sp.property, "cusparseGetProperty", v);
  if (why != PCU_TAKEN) return why;
  if (v[0] != 12 || v[1] * 1000 + v[2] < 5001) return PCU_OLD;
  int code = c->sp.create(&c->sp_handle);
  return code ? failed(c, PCU_SP, code, "cusparseCreate") : PCU_TAKEN;
}

static pcu_reason load_dnn(prune_cuda_ctx *c) {
  if (fill(&c->options, "cudnn", dnn_files, dnn_entries, &c->dnn))
    return PCU_MISSING;
  size_t version = c->dnn.version();
  c->versions[PCU_DNN] = version;
  /* 8 counts versions and errors in another way. */
  if (version < 90000 || version >= 100000) return PCU_OLD;
  int code = c->dnn.create(&c->dnn_handle);
  if (code) c->dnn_handle = NULL;
  return code ? failed(c, PCU_DNN, code, "cudnnCreate") : PCU_TAKEN;
}

/* Whether some variant is the library's. */
static bool is_asked(const prune_cuda_model *m, int how) {
  for (uint32_t i = 0; i < m->num_steps; i++)
    for (uint32_t v = 0; v < m->steps[i].num_variants; v++)
      if (m->steps[i].variants[v].how == how) return true;
  return false;
}

void pcu_load_libraries(prune_cuda_ctx *c) {
  /* Whether cuSPARSE sums in the same order every time is not written down. */
  static const struct {
    int library, how;
    uint32_t without;
    pcu_reason (*load)(prune_cuda_ctx *c);
  } rows[] = {{PCU_LT, PRUNE_CUDA_CUBLASLT, 0, load_lt},
              {PCU_SLT, PRUNE_CUDA_CUSPARSELT, PRUNE_CUDA_DENSE_ONLY, load_slt},
              {PCU_SP, PRUNE_CUDA_CUSPARSE,
               PRUNE_CUDA_DENSE_ONLY | PRUNE_CUDA_DETERMINISTIC, load_sp},
              {PCU_DNN, PRUNE_CUDA_CUDNN, 0, load_dnn}};
  const uint32_t none = PRUNE_CUDA_NO_LIBS | PRUNE_CUDA_OWN_ONLY;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    bool left_out = c->options.flags & (none | rows[i].without);
    pcu_reason why = PCU_UNASKED;
    if (is_asked(c->model, rows[i].how))
      why = left_out ? PCU_FLAGS : rows[i].load(c);
    c->why[rows[i].library] = (uint8_t)why;
  }
}

prune_cuda_status pcu_enter(const prune_cuda_ctx *c, bool *out_entered) {
  void *current = NULL;
  *out_entered = false;
  PCU_TRY(PCU_CU(c, current, &current));
  if (current == c->context) return PRUNE_CUDA_OK;
  PCU_TRY(PCU_CU(c, push, c->context));
  *out_entered = true;
  return PRUNE_CUDA_OK;
}

void pcu_leave(const prune_cuda_ctx *c, bool entered) {
  void *popped;
  if (entered) (void)c->cu.pop(&popped);
}
