/* ir/support/file.h: what is refused, and that a failure harms nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ir/support/file.h"

typedef struct fixture {
  char dir[64];
  prn_diag_sink sink;
  prn_strbuf said;
} fixture;

static void listen_in(void *user, const prn_diag *d) {
  fixture *f = user;
  prn_diag_format(&f->sink, d, &f->said);
}

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  if (!f) return -1;
  (void)snprintf(f->dir, sizeof f->dir, "%s/prn_file_XXXXXX", P_tmpdir);
  f->sink.handler = listen_in;
  f->sink.user = f;
  *state = f;
  return mkdtemp(f->dir) && chdir(f->dir) == 0 ? 0 : -1;
}

static int teardown(void **state) {
  fixture *f = *state;
  char command[100];
  (void)snprintf(command, sizeof command, "rm -rf %s", f->dir);
  int status = chdir("/") == 0 ? system(command) : -1;
  prn_strbuf_destroy(&f->said);
  prn_diag_sink_destroy(&f->sink);
  free(f);
  return status;
}

static void write_file(const char *path, const char *text) {
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  assert_true(fputs(text, f) >= 0);
  assert_int_equal(fclose(f), 0);
}

static void assert_content(const char *path, const char *text) {
  char got[64] = {0};
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  size_t n = fread(got, 1, sizeof got - 1, f);
  (void)fclose(f);
  got[n] = 0;
  assert_string_equal(got, text);
}

static int count_entries(void) {
  FILE *p = popen("ls -A | wc -l", "r");
  int n = -1;
  assert_non_null(p);
  assert_int_equal(fscanf(p, "%d", &n), 1);
  (void)pclose(p);
  return n;
}

static void assert_said(fixture *f, const char *part) {
  if (!f->said.data || !strstr(f->said.data, part))
    fail_msg("'%s' lacks '%s'", f->said.data ? f->said.data : "", part);
  f->said.size = 0;
}

static void test_open(void **state) {
  fixture *f = *state;
  prn_file *in;
  write_file("a", "hello");
  assert_int_equal(prn_file_open(&f->sink, "a", &in), PRN_OK);
  assert_true(prn_str_is(prn_file_bytes(in), "hello"));
  assert_string_equal(prn_file_path(in), "a");
  assert_ptr_equal(prn_file_retain(in), in);
  prn_file_release(in);
  prn_file_done(in, 0, 5);
  assert_true(prn_str_is(prn_file_bytes(in), "hello"));
  prn_file_release(in);
  prn_file_release(NULL);
  write_file("empty", "");
  assert_int_equal(prn_file_open(&f->sink, "empty", &in), PRN_OK);
  assert_int_equal(prn_file_bytes(in).size, 0);
  prn_file_release(in);
}

static void test_open_refuses(void **state) {
  fixture *f = *state;
  prn_file *in;
  assert_int_equal(prn_file_open(&f->sink, "none", &in), PRN_FAIL);
  assert_said(f, "error: cannot read 'none': No such file");
  assert_int_equal(prn_file_open(&f->sink, ".", &in), PRN_FAIL);
  assert_said(f, "cannot read '.': is a directory");
  assert_int_equal(mkfifo("pipe", 0600), 0);
  assert_int_equal(prn_file_open(&f->sink, "pipe", &in), PRN_FAIL);
  assert_said(f, "cannot read 'pipe': is not a regular file");
  assert_null(in);
}

static prn_status beneath(fixture *f, const char *text, size_t size) {
  prn_file *in;
  prn_status status = prn_file_open_beneath(
      &f->sink, "in", (prn_str){text, size}, (prn_loc){.file = "m.onnx"},
      PRN_STR("tensor 'w'"), &in);
  prn_file_release(in);
  return status;
}

static void assert_refused(fixture *f, const char *location, const char *why) {
  assert_int_equal(beneath(f, location, strlen(location)), PRN_FAIL);
  assert_said(f, why);
}

static void test_beneath(void **state) {
  fixture *f = *state;
  write_file("outside", "secret");
  assert_int_equal(mkdir("in", 0700), 0);
  assert_int_equal(mkdir("in/sub", 0700), 0);
  write_file("in/sub/w..bin", "data");
  assert_int_equal(symlink("../outside", "in/link"), 0);
  assert_int_equal(symlink("sub", "in/dirlink"), 0);
  assert_int_equal(mkfifo("in/pipe", 0600), 0);
  assert_int_equal(beneath(f, "sub/w..bin", 10), PRN_OK);
  assert_int_equal(beneath(f, "./sub//w..bin", 13), PRN_OK);
  assert_refused(f, "../outside",
                 "m.onnx: tensor 'w': error: file location \"../outside\" "
                 "leaves the folder");
  assert_refused(f, "sub/../../outside", "leaves the folder");
  assert_refused(f, "sub/..", "leaves the folder");
  assert_refused(f, "/etc/passwd", "is an absolute path");
  assert_refused(f, "", "is empty");
  assert_refused(f, "sub\\w", "holds a backslash");
  assert_refused(f, "link", "a symbolic link is on the way");
  assert_refused(f, "dirlink/w..bin", "a symbolic link is on the way");
  assert_refused(f, "sub", "is a directory");
  assert_refused(f, "pipe", "is not a regular file");
  assert_refused(f, "none", "No such file");
  assert_int_equal(beneath(f, "sub/w\0bin", 9), PRN_FAIL);
  assert_said(f, "holds a NUL byte");
}

/* Where the kernel has no openat2 the path is walked; same answers. */
static void test_beneath_walked(void **state) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog filter = {PRN_COUNT(code), code};
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
      _exit(0); /* filters are not allowed here */
    test_beneath(state);
    _exit(0);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
}

static void test_out(void **state) {
  fixture *f = *state;
  prn_out *o;
  write_file("a", "old");
  assert_int_equal(chmod("a", 0640), 0);
  assert_int_equal(prn_out_open(&f->sink, "a", &o), PRN_OK);
  prn_out_write(o, "new", 3);
  assert_int_equal(prn_out_offset(o), 3);
  assert_content("a", "old");
  assert_int_equal(prn_out_commit(o), PRN_OK);
  assert_content("a", "new");
  struct stat st;
  assert_int_equal(stat("a", &st), 0);
  assert_int_equal(st.st_mode & 0777, 0640);
  assert_int_equal(count_entries(), 1);
}

static void test_out_big(void **state) {
  fixture *f = *state;
  enum { PIECE = 300001, PIECES = 7 };
  char *piece = malloc(PIECE);
  prn_out *o;
  prn_file *in;
  assert_non_null(piece);
  assert_int_equal(prn_out_open(&f->sink, "big", &o), PRN_OK);
  for (int i = 0; i < PIECES; i++) {
    memset(piece, 'a' + i, PIECE);
    prn_out_write(o, "<", 1);
    prn_out_write(o, piece, PIECE);
  }
  free(piece);
  assert_int_equal(prn_out_commit(o), PRN_OK);
  assert_int_equal(prn_file_open(&f->sink, "big", &in), PRN_OK);
  prn_str s = prn_file_bytes(in);
  assert_int_equal(s.size, PIECES * (PIECE + 1));
  for (int i = 0; i < PIECES; i++) {
    const char *at = s.data + i * (PIECE + 1);
    assert_int_equal(at[0], '<');
    assert_int_equal(at[1], 'a' + i);
    assert_int_equal(at[PIECE], 'a' + i);
  }
  prn_file_release(in);
}

static void test_out_abandoned(void **state) {
  fixture *f = *state;
  prn_out *o;
  write_file("a", "old");
  assert_int_equal(prn_out_open(&f->sink, "a", &o), PRN_OK);
  prn_out_write(o, "new", 3);
  prn_out_abandon(o);
  prn_out_abandon(NULL);
  assert_content("a", "old");
  assert_int_equal(count_entries(), 1);
}

static void test_out_through_link(void **state) {
  fixture *f = *state;
  prn_out *o;
  struct stat st;
  write_file("a", "old");
  assert_int_equal(symlink("a", "link"), 0);
  assert_int_equal(prn_out_open(&f->sink, "link", &o), PRN_OK);
  prn_out_write(o, "new", 3);
  assert_int_equal(prn_out_commit(o), PRN_OK);
  assert_content("a", "new");
  assert_int_equal(lstat("link", &st), 0);
  assert_true(S_ISLNK(st.st_mode));
}

/* A device is written to, never replaced. */
static void test_out_device(void **state) {
  fixture *f = *state;
  prn_out *o;
  struct stat st;
  assert_int_equal(prn_out_open(&f->sink, "/dev/null", &o), PRN_OK);
  prn_out_write(o, "new", 3);
  assert_int_equal(prn_out_commit(o), PRN_OK);
  assert_int_equal(stat("/dev/null", &st), 0);
  assert_true(S_ISCHR(st.st_mode));
  assert_int_equal(prn_out_open(&f->sink, "/dev/full", &o), PRN_OK);
  prn_out_write(o, "new", 3);
  assert_int_equal(prn_out_commit(o), PRN_FAIL);
  assert_said(f, "cannot write '/dev/full': No space left");
}

static void test_out_refuses(void **state) {
  fixture *f = *state;
  prn_out *o;
  assert_int_equal(prn_out_open(&f->sink, "no/such", &o), PRN_FAIL);
  assert_said(f, "cannot write 'no/such': No such file");
  assert_int_equal(prn_out_open(&f->sink, ".", &o), PRN_FAIL);
  assert_said(f, "cannot write '.': Is a directory");
  write_file("a", "old");
  assert_int_equal(chmod("a", 0400), 0);
  if (geteuid() != 0) { /* root may write anything */
    assert_int_equal(prn_out_open(&f->sink, "a", &o), PRN_FAIL);
    assert_said(f, "cannot write 'a': Permission denied");
  }
  assert_null(o);
}

/* A file size limit stands in for a full disk. */
static void test_out_full(void **state) {
  fixture *f = *state;
  prn_out *o;
  struct rlimit old, small;
  char *piece = calloc(1, 1 << 20);
  assert_non_null(piece);
  write_file("a", "old");
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  small = (struct rlimit){100000, old.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
  assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
  assert_int_equal(prn_out_open(&f->sink, "a", &o), PRN_OK);
  prn_out_write(o, piece, 1 << 20);
  assert_int_equal(prn_out_commit(o), PRN_FAIL);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
  assert_said(f, "cannot write 'a': File too large");
  assert_content("a", "old");
  assert_int_equal(count_entries(), 1);
  free(piece);
}

static void test_out_killed(void **state) {
  fixture *f = *state;
  write_file("a", "old");
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    prn_out *o;
    if (prn_out_open(&f->sink, "a", &o) != PRN_OK) _exit(1);
    prn_out_write(o, "new", 3);
    (void)raise(SIGKILL);
  }
  assert_int_equal(waitpid(child, NULL, 0), child);
  assert_content("a", "old");
  /* where the file system has no nameless files, one may be left over */
  int probe = open(".", O_TMPFILE | O_WRONLY, 0600);
  if (probe >= 0) assert_int_equal(count_entries(), 1);
  if (probe >= 0) (void)close(probe);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_open),       TEST(test_open_refuses),
      TEST(test_beneath),    TEST(test_out),
      TEST(test_out_big),    TEST(test_out_abandoned),
      TEST(test_out_device), TEST(test_out_through_link),
      TEST(test_out_full),   TEST(test_out_refuses),
      TEST(test_out_killed), TEST(test_beneath_walked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
