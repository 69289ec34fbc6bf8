// Makes file calls of a real process fail, stop it, or take long: a library for LD_PRELOAD, for the
// end-to-end tests of checkpoints. Under mpirun every rank has it, and one of them can be meant.
//
// It does nothing unless MOLORA_TEST_FAULT is set, to key=value pairs with commas between them:
//   kind=kill|stop|enospc|eio|short|slow   what happens; without it nothing (with log=: counting)
//   op=open|write|fsync|rename|mkdir|unlink|close|any   which calls (any, but never close)
//   path=TEXT    only calls on a path with TEXT in it (of a rename: either path)
//   begin=TEXT   only calls from the first one on, of any op, whose path has TEXT in it
//   nth=K        only the K-th such call of a process (1 is the first); without it: all of them
//   after=1      kill and stop: right after the call took effect, not before
//   rank=N       only in the process that Open MPI calls rank N (alone: 0)
//   ms=N         slow: milliseconds that a call takes longer
//   log=FILE     appends a line "K op path" for each such call
// Only calls that change something at or below a folder "checkpoints" are looked at: open for
// writing, write and pwrite, fsync and fdatasync, rename, mkdir, unlink and rmdir in all their
// forms, and close.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum kind { KIND_NONE, KIND_KILL, KIND_STOP, KIND_ENOSPC, KIND_EIO, KIND_SHORT, KIND_SLOW };

static struct {
  bool is_on;
  enum kind kind;
  char op[16];
  char path[256];
  char begin[256];
  char log[PATH_MAX];
  long nth;
  long ms;
  bool is_after;
} plan;

static struct {
  int (*open)(const char*, int, ...);
  int (*openat)(int, const char*, int, ...);
  ssize_t (*write)(int, const void*, size_t);
  ssize_t (*pwrite)(int, const void*, size_t, off_t);
  int (*fsync)(int);
  int (*fdatasync)(int);
  int (*rename)(const char*, const char*);
  int (*renameat)(int, const char*, int, const char*);
  int (*mkdir)(const char*, mode_t);
  int (*mkdirat)(int, const char*, mode_t);
  int (*unlink)(const char*);
  int (*unlinkat)(int, const char*, int);
  int (*rmdir)(const char*);
  int (*remove)(const char*);
  int (*close)(int);
} real;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long calls;      // that were meant so far, under `mutex`
static bool has_begun;  // under `mutex`
static int log_file = -1;

static void give_up(const char* what, const char* text) {
  fprintf(stderr, "fault_shim: %s: %s\n", what, text);
  _exit(120);
}

static enum kind kind_of(const char* text) {
  static const char* const names[] = {"none", "kill", "stop", "enospc", "eio", "short", "slow"};
  for (int i = 0; i < (int)(sizeof names / sizeof *names); ++i) {
    if (strcmp(text, names[i]) == 0) return (enum kind)i;
  }
  give_up("no such kind", text);
  return KIND_NONE;
}

static long number_of(const char* text) {
  char* end;
  const long number = strtol(text, &end, 10);
  if (*text == '\0' || *end != '\0' || number < 0) give_up("not a number", text);
  return number;
}

static void copy_text(char* into, size_t size, const char* text) {
  if (strlen(text) >= size) give_up("too long", text);
  strcpy(into, text);
}

static void read_pair(const char* key, const char* value, long* rank) {
  if (strcmp(key, "kind") == 0) {
    plan.kind = kind_of(value);
  } else if (strcmp(key, "op") == 0) {
    copy_text(plan.op, sizeof plan.op, value);
  } else if (strcmp(key, "path") == 0) {
    copy_text(plan.path, sizeof plan.path, value);
  } else if (strcmp(key, "begin") == 0) {
    copy_text(plan.begin, sizeof plan.begin, value);
  } else if (strcmp(key, "log") == 0) {
    copy_text(plan.log, sizeof plan.log, value);
  } else if (strcmp(key, "nth") == 0) {
    plan.nth = number_of(value);
  } else if (strcmp(key, "ms") == 0) {
    plan.ms = number_of(value);
  } else if (strcmp(key, "after") == 0) {
    plan.is_after = number_of(value) != 0;
  } else if (strcmp(key, "rank") == 0) {
    *rank = number_of(value);
  } else {
    give_up("no such key", key);
  }
}

static void find_real(void* function, const char* name) {
  void* const found = dlsym(RTLD_NEXT, name);
  if (found == NULL) give_up("not in the C library", name);
  memcpy(function, &found, sizeof found);
}

static void find_all_real(void) {
  find_real(&real.open, "open");
  find_real(&real.openat, "openat");
  find_real(&real.write, "write");
  find_real(&real.pwrite, "pwrite");
  find_real(&real.fsync, "fsync");
  find_real(&real.fdatasync, "fdatasync");
  find_real(&real.rename, "rename");
  find_real(&real.renameat, "renameat");
  find_real(&real.mkdir, "mkdir");
  find_real(&real.mkdirat, "mkdirat");
  find_real(&real.unlink, "unlink");
  find_real(&real.unlinkat, "unlinkat");
  find_real(&real.rmdir, "rmdir");
  find_real(&real.remove, "remove");
  find_real(&real.close, "close");
}

static void set_up(void) {
  find_all_real();
  const char* const text = getenv("MOLORA_TEST_FAULT");
  if (text == NULL || *text == '\0') return;
  char* const copy = strdup(text);
  long rank = -1;
  strcpy(plan.op, "any");
  char* rest = copy;
  for (char* pair = strtok_r(copy, ",", &rest); pair != NULL; pair = strtok_r(NULL, ",", &rest)) {
    char* const equals = strchr(pair, '=');
    if (equals == NULL) give_up("no key=value", pair);
    *equals = '\0';
    read_pair(pair, equals + 1, &rank);
  }
  free(copy);
  const char* const own = getenv("OMPI_COMM_WORLD_RANK");
  plan.is_on = rank < 0 || rank == (own == NULL ? 0 : number_of(own));
  if (plan.is_on && plan.log[0] != '\0') {
    log_file = real.open(plan.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log_file < 0) give_up("cannot open the log", plan.log);
  }
}

static bool is_on(void) {
  pthread_once(&once, set_up);
  return plan.is_on;
}

static bool is_checkpoint_path(const char* path) {
  static const char folder[] = "/checkpoints";
  const char* const found = strstr(path, folder);
  return found != NULL && (found[sizeof folder - 1] == '/' || found[sizeof folder - 1] == '\0');
}

static void log_call(const char* op, const char* path, const char* other) {
  char line[3 * PATH_MAX];
  const int length = snprintf(line, sizeof line, "%ld %s %s%s%s\n", calls, op, path,
                              *other == '\0' ? "" : " ", other);
  if (real.write(log_file, line, (size_t)length) != length) give_up("cannot write", plan.log);
}

static bool has_text(const char* path, const char* other, const char* text) {
  return strstr(path, text) != NULL || (*other != '\0' && strstr(other, text) != NULL);
}

static bool is_op(const char* op) {
  return strcmp(plan.op, "any") == 0 ? strcmp(op, "close") != 0 : strcmp(plan.op, op) == 0;
}

// Whether the fault is for this call; numbers it.
static bool is_meant(const char* op, const char* path, const char* other) {
  if (!is_checkpoint_path(path) && !is_checkpoint_path(other)) return false;
  pthread_mutex_lock(&mutex);
  has_begun = has_begun || has_text(path, other, plan.begin);
  const bool fits = has_begun && is_op(op) && has_text(path, other, plan.path);
  if (fits) {
    ++calls;
    if (log_file >= 0) log_call(op, path, other);
  }
  const bool meant = fits && (plan.nth == 0 || plan.nth == calls);
  pthread_mutex_unlock(&mutex);
  return meant;
}

static void stop_process(void) {
  if (plan.kind == KIND_KILL) raise(SIGKILL);
  if (plan.kind == KIND_STOP) raise(SIGSTOP);
}

struct verdict {
  bool fails;     // errno is set
  bool is_short;  // a write: half of it
  bool is_meant;
};

// What happens before a call that is looked at.
static struct verdict before(const char* op, const char* path, const char* other) {
  struct verdict verdict = {false, false, false};
  const int saved_errno = errno;
  verdict.is_meant = is_meant(op, path, other);
  errno = saved_errno;
  if (!verdict.is_meant) return verdict;
  if (!plan.is_after) stop_process();
  if (plan.kind == KIND_SLOW) {
    const struct timespec time = {plan.ms / 1000, plan.ms % 1000 * 1000000};
    nanosleep(&time, NULL);
    errno = saved_errno;
  }
  verdict.fails = plan.kind == KIND_ENOSPC || plan.kind == KIND_EIO;
  verdict.is_short = plan.kind == KIND_SHORT;
  if (verdict.fails) errno = plan.kind == KIND_ENOSPC ? ENOSPC : EIO;
  return verdict;
}

static void after(struct verdict verdict) {
  if (verdict.is_meant && plan.is_after) stop_process();
}

// The path of an open file or folder; empty when it has none.
static const char* path_of(int descriptor, char* into) {
  char link[64];
  const int saved_errno = errno;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, into, PATH_MAX - 1);
  into[length < 0 ? 0 : length] = '\0';
  errno = saved_errno;
  return into;
}

// The path that a call relative to a folder means.
static const char* path_at(int folder, const char* path, char* into) {
  if (folder == AT_FDCWD || *path == '/') return path;
  path_of(folder, into);
  const size_t length = strlen(into);
  snprintf(into + length, PATH_MAX - length, "/%s", path);
  return into;
}

#define AROUND(result, op, path, other, call)               \
  do {                                                      \
    if (!is_on()) return call;                              \
    const struct verdict verdict = before(op, path, other); \
    if (verdict.fails) return -1;                           \
    const result done = call;                               \
    after(verdict);                                         \
    return done;                                            \
  } while (0)

static mode_t mode_of(int flags, va_list arguments) {
  return (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

static int open_at(int folder, const char* path, int flags, mode_t mode) {
  char text[2 * PATH_MAX];
  if ((flags & O_ACCMODE) == O_RDONLY) {
    pthread_once(&once, set_up);
    return real.openat(folder, path, flags, mode);
  }
  AROUND(int, "open", path_at(folder, path, text), "", real.openat(folder, path, flags, mode));
}

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_at(AT_FDCWD, path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_at(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int openat(int folder, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_at(folder, path, flags, mode);
}

int openat64(int folder, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_at(folder, path, flags | O_LARGEFILE, mode);
}

int creat(const char* path, mode_t mode) {
  return open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

ssize_t write(int descriptor, const void* bytes, size_t size) {
  char text[PATH_MAX];
  if (!is_on()) return real.write(descriptor, bytes, size);
  const struct verdict verdict = before("write", path_of(descriptor, text), "");
  if (verdict.fails) return -1;
  const ssize_t done = real.write(descriptor, bytes, verdict.is_short ? (size + 1) / 2 : size);
  after(verdict);
  return done;
}

ssize_t pwrite(int descriptor, const void* bytes, size_t size, off_t offset) {
  char text[PATH_MAX];
  if (!is_on()) return real.pwrite(descriptor, bytes, size, offset);
  const struct verdict verdict = before("write", path_of(descriptor, text), "");
  if (verdict.fails) return -1;
  const ssize_t done =
      real.pwrite(descriptor, bytes, verdict.is_short ? (size + 1) / 2 : size, offset);
  after(verdict);
  return done;
}

ssize_t pwrite64(int descriptor, const void* bytes, size_t size, off_t offset) {
  return pwrite(descriptor, bytes, size, offset);
}

int fsync(int descriptor) {
  char text[PATH_MAX];
  AROUND(int, "fsync", path_of(descriptor, text), "", real.fsync(descriptor));
}

int fdatasync(int descriptor) {
  char text[PATH_MAX];
  AROUND(int, "fsync", path_of(descriptor, text), "", real.fdatasync(descriptor));
}

int close(int descriptor) {
  char text[PATH_MAX];
  AROUND(int, "close", path_of(descriptor, text), "", real.close(descriptor));
}

int rename(const char* from, const char* to) {
  AROUND(int, "rename", from, to, real.rename(from, to));
}

int renameat(int from_folder, const char* from, int to_folder, const char* to) {
  char texts[2][2 * PATH_MAX];
  AROUND(int, "rename", path_at(from_folder, from, texts[0]), path_at(to_folder, to, texts[1]),
         real.renameat(from_folder, from, to_folder, to));
}

int mkdir(const char* path, mode_t mode) { AROUND(int, "mkdir", path, "", real.mkdir(path, mode)); }

int mkdirat(int folder, const char* path, mode_t mode) {
  char text[2 * PATH_MAX];
  AROUND(int, "mkdir", path_at(folder, path, text), "", real.mkdirat(folder, path, mode));
}

int unlink(const char* path) { AROUND(int, "unlink", path, "", real.unlink(path)); }

int unlinkat(int folder, const char* path, int flags) {
  char text[2 * PATH_MAX];
  AROUND(int, "unlink", path_at(folder, path, text), "", real.unlinkat(folder, path, flags));
}

int rmdir(const char* path) { AROUND(int, "unlink", path, "", real.rmdir(path)); }

int remove(const char* path) { AROUND(int, "unlink", path, "", real.remove(path)); }
