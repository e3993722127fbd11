/* Dynamic symbols of an ELF file; see library.h. The file is untrusted here:
 * every offset is checked against its size. */
#include "backends/llvm/library.h"

#include <elf.h>
#include <string.h>

#include "ir/support/file.h"

static prn_status fail(prn_diag_sink *sink, const char *path,
                       const char *what) {
  return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, (prn_str){0}, "%s: %s",
                       path, what);
}

/* Copies size bytes at offset; false outside the file. */
static bool read_at(prn_str file, uint64_t offset, void *out, size_t size) {
  if (offset > file.size || size > file.size - offset) return false;
  memcpy(out, file.data + offset, size);
  return true;
}

static bool section(prn_str file, const Elf64_Ehdr *h, uint32_t i,
                    Elf64_Shdr *out) {
  uint64_t at;
  if (i >= h->e_shnum || h->e_shentsize != sizeof *out) return false;
  if (__builtin_add_overflow(h->e_shoff, (uint64_t)i * sizeof *out, &at))
    return false;
  return read_at(file, at, out, sizeof *out);
}

/* The name at offset of string table s; empty when it leaves the file. */
static prn_str name_at(prn_str file, const Elf64_Shdr *s, uint64_t offset) {
  if (offset >= s->sh_size || s->sh_offset > file.size ||
      s->sh_size > file.size - s->sh_offset)
    return (prn_str){0};
  const char *p = file.data + s->sh_offset + offset;
  const char *end = memchr(p, 0, s->sh_size - offset);
  return end ? (prn_str){p, (size_t)(end - p)} : (prn_str){0};
}

/* Appends the model symbols of one table to out; returns how many. */
static unsigned scan(prn_str file, const Elf64_Ehdr *h, const Elf64_Shdr *s,
                     prn_strbuf *out) {
  Elf64_Shdr names;
  Elf64_Sym sym;
  unsigned found = 0;
  if (!section(file, h, s->sh_link, &names)) return 0;
  for (uint64_t k = 0; k < s->sh_size / sizeof sym; k++) {
    if (!read_at(file, s->sh_offset + k * sizeof sym, &sym, sizeof sym)) break;
    prn_str name = name_at(file, &names, sym.st_name);
    if (sym.st_shndx == SHN_UNDEF || !prn_str_ends(name, "_model")) continue;
    if (ELF64_ST_TYPE(sym.st_info) != STT_FUNC) continue;
    if (found++ == 0) prn_strbuf_str(out, name);
  }
  return found;
}

static prn_status find(prn_diag_sink *sink, const char *path, prn_str file,
                       prn_strbuf *out) {
  Elf64_Ehdr h;
  Elf64_Shdr s;
  unsigned found = 0;
  if (!read_at(file, 0, &h, sizeof h) ||
      memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 ||
      h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_type != ET_DYN)
    return fail(sink, path, "is not a shared library (ELF, 64 bits)");
  for (uint32_t i = 0; section(file, &h, i, &s); i++)
    if (s.sh_type == SHT_DYNSYM) found += scan(file, &h, &s, out);
  if (found == 1) return PRN_OK;
  return fail(sink, path,
              found ? "exports several models"
                    : "exports no model: was it made by prunec?");
}

prn_status prn_library_symbol(prn_diag_sink *sink, const char *path,
                              prn_strbuf *out) {
  prn_file *file;
  PRN_TRY(prn_file_open(sink, path, &file));
  prn_status s = find(sink, path, prn_file_bytes(file), out);
  prn_file_release(file);
  return s;
}
