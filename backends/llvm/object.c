/* ELF objects with weights; see object.h. */
#include "backends/llvm/object.h"

#include <assert.h>
#include <elf.h>
#include <stdio.h>
#include <string.h>

#include "ir/support/arena.h"

enum { ALIGN = 64 };
static const int64_t large = INT64_C(1) << 30;
#define SHF_LARGE 0x10000000u /* SHF_X86_64_LARGE */

/* Where things come to lie in the completed object. */
typedef struct layout {
  Elf64_Ehdr header;
  Elf64_Shdr *sections; /* one more than the code's */
  uint32_t num;
  uint64_t strings, weights, table; /* offsets */
  const char *name;                 /* of the new section */
} layout;

static uint64_t up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

static void read_layout(prn_str object, const prn_weights *w, layout *l) {
  assert(object.size > sizeof l->header);
  memcpy(&l->header, object.data, sizeof l->header);
  uint32_t n = l->header.e_shnum;
  l->num = n + 1;
  l->sections = prn_alloc(prn_array_size(sizeof(Elf64_Shdr), l->num));
  memcpy(l->sections, object.data + l->header.e_shoff, n * sizeof(Elf64_Shdr));
  int64_t size = prn_weights_size(w->funcs[0]);
  bool far = size > large && l->header.e_machine == EM_X86_64;
  l->name = far ? ".lrodata.weights" : ".rodata.weights";
  /* The names of sections move to the end, grown by one. */
  Elf64_Shdr *names = &l->sections[l->header.e_shstrndx];
  l->strings = up(object.size, 8);
  uint64_t old = names->sh_size;
  uint64_t grown = old + strlen(l->name) + 1;
  l->weights = up(l->strings + grown, ALIGN);
  l->table = up(l->weights + (uint64_t)size, 8);
  l->sections[n] = (Elf64_Shdr){
      .sh_name = (Elf64_Word)old,
      .sh_type = SHT_PROGBITS,
      .sh_flags = SHF_ALLOC | (far ? SHF_LARGE : 0),
      .sh_offset = l->weights,
      .sh_size = (Elf64_Xword)size,
      .sh_addralign = ALIGN,
  };
}

typedef struct counter {
  prn_weights_fn *write;
  void *user;
  uint64_t at;
} counter;

static void put(void *user, const void *data, size_t size) {
  counter *c = user;
  c->write(c->user, data, size);
  c->at += size;
}

static void pad(counter *c, uint64_t to) {
  static const char zeros[ALIGN];
  while (c->at < to)
    put(c, zeros, to - c->at < ALIGN ? (size_t)(to - c->at) : ALIGN);
}

/* Points the undefined symbol at the new section; the copy is patched. */
static void define(char *copy, const layout *l, const char *symbol,
                   int64_t size) {
  for (uint32_t i = 0; i + 1 < l->num; i++) {
    const Elf64_Shdr *s = &l->sections[i];
    if (s->sh_type != SHT_SYMTAB) continue;
    const char *names = copy + l->sections[s->sh_link].sh_offset;
    for (uint64_t k = 0; k < s->sh_size / sizeof(Elf64_Sym); k++) {
      Elf64_Sym sym;
      char *at = copy + s->sh_offset + k * sizeof sym;
      memcpy(&sym, at, sizeof sym);
      if (strcmp(names + sym.st_name, symbol) != 0) continue;
      sym.st_shndx = (Elf64_Section)(l->num - 1);
      sym.st_size = (Elf64_Xword)size;
      sym.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT);
      sym.st_other = STV_HIDDEN;
      memcpy(at, &sym, sizeof sym);
    }
  }
}

static void write_layout(prn_str object, const char *symbol,
                         const prn_weights *w, layout *l, counter *c) {
  uint64_t start = c->at;
  char *copy = prn_alloc(object.size);
  memcpy(copy, object.data, object.size);
  define(copy, l, symbol, prn_weights_size(w->funcs[0]));
  Elf64_Ehdr h = l->header;
  h.e_shoff = l->table;
  h.e_shnum = (Elf64_Half)l->num;
  memcpy(copy, &h, sizeof h);
  put(c, copy, object.size);
  pad(c, start + l->strings);
  Elf64_Shdr *names = &l->sections[h.e_shstrndx];
  put(c, object.data + names->sh_offset, names->sh_size);
  put(c, l->name, strlen(l->name) + 1);
  /* The symbols' names may lie in the same section: both copies stay, and
   * the header of the section tells of the longer one. */
  names->sh_offset = l->strings;
  names->sh_size += strlen(l->name) + 1;
  pad(c, start + l->weights);
  prn_weights_write(w, put, c);
  pad(c, start + l->table);
  put(c, l->sections, l->num * sizeof(Elf64_Shdr));
  prn_free(copy);
}

void prn_object_write(prn_str object, const char *symbol, const prn_weights *w,
                      prn_weights_fn *write, void *user) {
  counter c = {write, user, 0};
  layout l;
  if (prn_weights_size(w->funcs[0]) == 0) {
    put(&c, object.data, object.size);
    return;
  }
  read_layout(object, w, &l);
  write_layout(object, symbol, w, &l, &c);
  prn_free(l.sections);
}

uint64_t prn_object_size(prn_str object, const char *symbol,
                         const prn_weights *w) {
  layout l;
  (void)symbol;
  if (prn_weights_size(w->funcs[0]) == 0) return object.size;
  read_layout(object, w, &l);
  uint64_t size = l.table + l.num * sizeof(Elf64_Shdr);
  prn_free(l.sections);
  return size;
}

/* ---- archives ---- */

static void member_header(counter *c, const char *name, uint64_t size) {
  char h[80];
  snprintf(h, sizeof h, "%-16s%-12s%-6s%-6s%-8s%-10llu`\n", name, "0", "0", "0",
           "644", (unsigned long long)size);
  put(c, h, 60);
}

void prn_archive_write(prn_str object, const char *symbol, const char *exported,
                       const char *member, const prn_weights *w,
                       prn_weights_fn *write, void *user) {
  counter c = {write, user, 0};
  char name[17];
  size_t n = strlen(exported) + 1, index = 8 + n;
  put(&c, "!<arch>\n", 8);
  /* The index of symbols: big-endian count, member offsets, names. */
  member_header(&c, "/", index);
  uint32_t at = (uint32_t)(8 + 60 + up(index, 2));
  unsigned char head[8] = {0, 0, 0, 1};
  for (int i = 0; i < 4; i++)
    head[4 + i] = (unsigned char)(at >> (24 - 8 * i));
  put(&c, head, sizeof head);
  put(&c, exported, n);
  if (index % 2) put(&c, "\n", 1);
  snprintf(name, sizeof name, "%.13s/", member);
  uint64_t size = prn_object_size(object, symbol, w);
  member_header(&c, name, size);
  prn_object_write(object, symbol, w, put, &c);
  if (size % 2) put(&c, "\n", 1);
}
