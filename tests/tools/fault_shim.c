/* A shim (LD_PRELOAD) that counts what a job asks of the disk and of HDF5, and fails the k-th of it.
 *
 * Inert until fault_arm() is called, and for every file that does not lie below the folder given there. Three classes of
 * operations are counted, each or together: what changes the disk (open for writing, write, fsync, rename, unlink, ...),
 * what reads it, and calls of HDF5's library. The driver (faults.py) arms it in a forked child through ctypes.
 *
 * Where a log is asked for, every counted operation that was performed is appended to it as one record (struct record,
 * the paths, the data), from which the driver knows what there is to fail, and what a power cut may lose.
 *
 * All work is done by system calls, so that nothing of the C library stands in between and none of ours calls another.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CHANGES = 1, READS = 2, HDF5 = 4 };                             /* classes */
enum { FAIL = 1, KILL_BEFORE, KILL_AFTER, SHORT, TORN_KILL };          /* what happens to the k-th */
enum {                                                                /* operations; names in faults.py */
    OPEN = 1, WRITE, SYNC, RENAME, UNLINK, RMDIR, MKDIR, TRUNCATE, LINK, SYMLINK, CLOSE, FLOCK, SYNC_ALL,
    OPEN_READ, READ, CALL
};
enum { CREATED = 1, EMPTIED = 2 };                                    /* flags of OPEN */

struct state {
    int armed, classes, kind, number, logging, lazy;
    uint64_t sticky; /* operations (bit 1 << op) that fail with the same number after the k-th */
    long k, count, hit;
    int log;
    size_t length;
    char root[PATH_MAX];
    char what[512]; /* the operation that was failed */
};

struct record {
    uint32_t magic, op;
    int64_t number, result;
    uint64_t inode, other; /* of what was written or renamed; of what a rename replaced */
    int64_t offset, size;
    uint32_t flags, first, second, data; /* lengths of path, second path, data behind this */
};

static struct state *S; /* shared by all forks: the parent reads what a child counted */
static __thread int busy;

__attribute__((constructor)) static void begin(void) {
    S = mmap(NULL, sizeof *S, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (S == MAP_FAILED) S = NULL;
}

/* ------------------------------------------------------------------------------------------------------------------
 * called by the driver */

int fault_arm(const char *root, int log, int data, int classes, int kind, int number, uint64_t sticky, long k, int lazy) {
    if (!S || strlen(root) >= PATH_MAX) return -1;
    memset(S, 0, sizeof *S);
    strcpy(S->root, root);
    S->length = strlen(root);
    S->log = log, S->logging = log < 0 ? 0 : data ? 2 : 1;
    S->classes = classes, S->kind = kind, S->number = number, S->sticky = sticky, S->k = k, S->lazy = lazy;
    S->armed = 1;
    return 0;
}

void fault_disarm(void) { if (S) S->armed = 0; }
long fault_count(void) { return S ? S->count : -1; }
long fault_hit(void) { return S ? S->hit : -1; }
const char *fault_what(void) { return S ? S->what : ""; }

/* ------------------------------------------------------------------------------------------------------------------
 * where an operation takes place */

static int below(const char *path) {
    return !strncmp(path, S->root, S->length) && (path[S->length] == '/' || !path[S->length]);
}

/* Write the absolute path of an open file; return whether it lies below the folder. */
static int of_file(int file, char *path) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    long n = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return below(path);
}

/* Write the absolute form of a path; return whether it lies below the folder. */
static int of_path(int folder, const char *given, char *path) {
    if (!given) return 0;
    if (given[0] == '/') {
        if (strlen(given) >= PATH_MAX) return 0;
        strcpy(path, given);
        return below(path);
    }
    if (folder == AT_FDCWD) {
        if (syscall(SYS_getcwd, path, PATH_MAX) < 0) return 0;
    } else {
        of_file(folder, path);
    }
    size_t n = strlen(path);
    if (n + strlen(given) + 2 >= PATH_MAX) return 0;
    path[n] = '/';
    strcpy(path + n + 1, given[0] == '.' && given[1] == '/' ? given + 2 : given);
    return below(path);
}

static int look(const char *path, struct stat *about) { return fstatat(AT_FDCWD, path, about, AT_SYMLINK_NOFOLLOW); }

static int on(int class) { return S && S->armed && (S->classes & class) && !busy; }

/* ------------------------------------------------------------------------------------------------------------------
 * counting, failing, logging */

static const char *const NAMES[] = {"", "open", "write", "fsync", "rename", "unlink", "rmdir", "mkdir", "truncate", "link",
    "symlink", "close", "flock", "sync", "open to read", "read", ""};

static void die(void) {
    syscall(SYS_kill, (pid_t)syscall(SYS_getpid), SIGKILL);
    for (;;) pause();
}

/* Count an operation; return what is to happen to it, 0 = nothing. KILL_BEFORE does not return. */
static int next(int op, const char *path, long *number) {
    long n = *number = __sync_add_and_fetch(&S->count, 1);
    if (!S->k || n < S->k) return 0;
    if (n > S->k) return (S->hit && (S->sticky >> op & 1)) ? FAIL : 0;
    S->hit = n;
    snprintf(S->what, sizeof S->what, "%s %s", NAMES[op], below(path) ? path + S->length + 1 : path);
    if (S->kind == KILL_BEFORE) die();
    return S->kind;
}

static void note(int op, long number, long result, uint64_t inode, uint64_t other, int64_t offset, int64_t size,
                 uint32_t flags, const char *path, const char *second, const void *data, uint32_t length) {
    if (!S->logging) return;
    if (S->logging < 2) data = NULL, length = 0;
    struct record r = {0x10551055, op, number, result, inode, other, offset, size, flags, strlen(path),
                       second ? strlen(second) : 0, data ? length : 0};
    struct iovec parts[4] = {{&r, sizeof r}, {(void *)path, r.first}, {(void *)second, r.second}, {(void *)data, r.data}};
    int kept = errno;
    syscall(SYS_writev, S->log, parts, 4);
    errno = kept;
}

static long failed(void) {
    errno = S->number;
    return -1;
}

/* Count an operation and perform it, or do to it what is asked for. ``perform``: what does it; ``log``: what notes it. */
#define DO(op, path, perform, log)                          \
    do {                                                    \
        long number;                                        \
        int fate = next(op, path, &number);                 \
        if (fate == FAIL) return failed();                  \
        long result = (perform);                            \
        int error = errno;                                  \
        if (result >= 0) { log; }                           \
        if (fate == KILL_AFTER || fate == TORN_KILL) die(); \
        errno = error;                                      \
        return result;                                      \
    } while (0)

/* ------------------------------------------------------------------------------------------------------------------
 * open */

static int do_open(int folder, const char *given, int flags, mode_t mode) {
    int changes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
    char path[PATH_MAX];
    if (!on(changes ? CHANGES : READS) || !of_path(folder, given, path))
        return syscall(SYS_openat, folder, given, flags, mode);
    struct stat about;
    int there = !look(path, &about);
    uint32_t how = (!there ? CREATED : 0) | (there && flags & O_TRUNC ? EMPTIED : 0);
    DO(changes ? OPEN : OPEN_READ, path, syscall(SYS_openat, folder, given, flags, mode),
       (fstat((int)result, &about), note(changes ? OPEN : OPEN_READ, number, result, about.st_ino, 0, 0, 0, how, path,
                                         NULL, NULL, 0)));
}

#define MODE(last)                                       \
    mode_t mode = 0;                                     \
    if (flags & (O_CREAT | O_TMPFILE)) {                 \
        va_list more;                                    \
        va_start(more, last);                            \
        mode = va_arg(more, int);                        \
        va_end(more);                                    \
    }

int open(const char *path, int flags, ...) { MODE(flags) return do_open(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return do_open(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags) return do_open(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags) return do_open(folder, path, flags, mode); }
int __open_2(const char *path, int flags) { return do_open(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return do_open(AT_FDCWD, path, flags, 0); }
int creat(const char *path, mode_t mode) { return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int close(int file) {
    char path[PATH_MAX];
    if (!on(CHANGES) || (syscall(SYS_fcntl, file, F_GETFL) & O_ACCMODE) == O_RDONLY || !of_file(file, path))
        return syscall(SYS_close, file);
    long number;
    int fate = next(CLOSE, path, &number); /* as NFS: the file is closed, but what was written is lost */
    long result = syscall(SYS_close, file);
    if (fate == KILL_AFTER || fate == TORN_KILL) die();
    if (fate == FAIL) return failed();
    note(CLOSE, number, result, 0, 0, 0, 0, 0, path, NULL, NULL, 0);
    return result;
}

/* ------------------------------------------------------------------------------------------------------------------
 * writing */

static ssize_t do_write(int file, const void *data, size_t size, off_t at, int placed) {
    char path[PATH_MAX];
    if (!on(CHANGES) || !of_file(file, path))
        return placed ? syscall(SYS_pwrite64, file, data, size, at) : syscall(SYS_write, file, data, size);
    struct stat about;
    fstat(file, &about);
    if (!placed) at = syscall(SYS_fcntl, file, F_GETFL) & O_APPEND ? about.st_size : syscall(SYS_lseek, file, 0, SEEK_CUR);
    long number;
    int fate = next(WRITE, path, &number);
    if (fate == FAIL) return failed();
    if (fate == SHORT || fate == TORN_KILL) size = (size + 1) / 2;
    ssize_t done = placed ? syscall(SYS_pwrite64, file, data, size, at) : syscall(SYS_write, file, data, size);
    if (done >= 0) note(WRITE, number, done, about.st_ino, 0, at, done, 0, path, NULL, data, (uint32_t)done);
    if (fate == KILL_AFTER || fate == TORN_KILL) die();
    return done;
}

ssize_t write(int file, const void *data, size_t size) { return do_write(file, data, size, 0, 0); }
ssize_t pwrite(int file, const void *data, size_t size, off_t at) { return do_write(file, data, size, at, 1); }
ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) { return do_write(file, data, size, at, 1); }

ssize_t writev(int file, const struct iovec *parts, int count) {
    char path[PATH_MAX];
    if (!on(CHANGES) || !of_file(file, path)) return syscall(SYS_writev, file, parts, count);
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = parts[i].iov_len ? do_write(file, parts[i].iov_base, parts[i].iov_len, 0, 0) : 0;
        if (done < 0) return total ? total : -1;
        total += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return total;
}

/* Copies of files are taken apart into reads and writes, so that there is one kind of write. */
static ssize_t copy(int to, int from, off64_t *at, size_t size) {
    char data[65536];
    if (size > sizeof data) size = sizeof data;
    ssize_t got = at ? syscall(SYS_pread64, from, data, size, *at) : syscall(SYS_read, from, data, size);
    if (got <= 0) return got;
    ssize_t done = do_write(to, data, got, 0, 0);
    if (done > 0 && at) *at += done;
    if (!at && done < got) syscall(SYS_lseek, from, (done < 0 ? 0 : done) - got, SEEK_CUR);
    return done;
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t size) {
    char path[PATH_MAX];
    return on(CHANGES) && of_file(to, path) ? copy(to, from, at, size) : syscall(SYS_sendfile, to, from, at, size);
}
ssize_t sendfile(int to, int from, off_t *at, size_t size) { return sendfile64(to, from, at, size); }

ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *place, size_t size, unsigned flags) {
    char path[PATH_MAX];
    if (on(CHANGES) && of_file(to, path)) {
        errno = ENOSYS; /* callers then read and write */
        return -1;
    }
    return syscall(SYS_copy_file_range, from, at, to, place, size, flags);
}

static int do_truncate(int file, off_t size) {
    char path[PATH_MAX];
    struct stat about;
    if (!on(CHANGES) || !of_file(file, path)) return syscall(SYS_ftruncate, file, size);
    fstat(file, &about);
    DO(TRUNCATE, path, syscall(SYS_ftruncate, file, size),
       note(TRUNCATE, number, result, about.st_ino, 0, size, 0, 0, path, NULL, NULL, 0));
}

int ftruncate(int file, off_t size) { return do_truncate(file, size); }
int ftruncate64(int file, off64_t size) { return do_truncate(file, size); }

int truncate(const char *given, off_t size) {
    char path[PATH_MAX];
    struct stat about;
    if (!on(CHANGES) || !of_path(AT_FDCWD, given, path)) return syscall(SYS_truncate, given, size);
    if (look(path, &about)) return -1;
    DO(TRUNCATE, path, syscall(SYS_truncate, given, size),
       note(TRUNCATE, number, result, about.st_ino, 0, size, 0, 0, path, NULL, NULL, 0));
}
int truncate64(const char *path, off64_t size) { return truncate(path, size); }

/* ------------------------------------------------------------------------------------------------------------------
 * syncing; ``lazy`` leaves it out, since the power cut is only played */

static int do_sync(int file, int how) {
    char path[PATH_MAX];
    struct stat about;
    if (!on(CHANGES) || !of_file(file, path)) return syscall(how, file);
    fstat(file, &about);
    DO(SYNC, path, S->lazy ? 0 : syscall(how, file),
       note(SYNC, number, result, about.st_ino, 0, 0, 0, 0, path, NULL, NULL, 0));
}

int fsync(int file) { return do_sync(file, SYS_fsync); }
int fdatasync(int file) { return do_sync(file, SYS_fdatasync); }

static int all(int file) {
    char path[PATH_MAX] = "/";
    DO(SYNC_ALL, path, S->lazy ? 0 : file < 0 ? (syscall(SYS_sync), 0) : syscall(SYS_syncfs, file),
       note(SYNC_ALL, number, result, 0, 0, 0, 0, 0, path, NULL, NULL, 0));
}

void sync(void) { on(CHANGES) ? (void)all(-1) : (void)syscall(SYS_sync); }
int syncfs(int file) { return on(CHANGES) ? all(file) : syscall(SYS_syncfs, file); }

int flock(int file, int how) {
    char path[PATH_MAX];
    if (!on(CHANGES) || !of_file(file, path)) return syscall(SYS_flock, file, how);
    DO(FLOCK, path, syscall(SYS_flock, file, how), note(FLOCK, number, result, 0, 0, 0, how, 0, path, NULL, NULL, 0));
}

/* ------------------------------------------------------------------------------------------------------------------
 * names */

static int do_rename(int folder, const char *from, int folder2, const char *to, unsigned flags) {
    char path[PATH_MAX], second[PATH_MAX];
    struct stat about, replaced;
    int inside = on(CHANGES) && (of_path(folder, from, path) | of_path(folder2, to, second));
    if (!inside) return syscall(SYS_renameat2, folder, from, folder2, to, flags);
    if (look(path, &about)) return -1;
    if (look(second, &replaced)) replaced.st_ino = 0;
    DO(RENAME, second, syscall(SYS_renameat2, folder, from, folder2, to, flags),
       note(RENAME, number, result, about.st_ino, replaced.st_ino, 0, 0, flags, path, second, NULL, 0));
}

int rename(const char *from, const char *to) { return do_rename(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return do_rename(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return do_rename(a, from, b, to, flags); }

static int do_unlink(int folder, const char *given, int flags) {
    char path[PATH_MAX];
    struct stat about;
    if (!on(CHANGES) || !of_path(folder, given, path)) return syscall(SYS_unlinkat, folder, given, flags);
    if (look(path, &about)) return -1; /* nothing there: nothing to count */
    int op = flags & AT_REMOVEDIR ? RMDIR : UNLINK;
    DO(op, path, syscall(SYS_unlinkat, folder, given, flags),
       note(op, number, result, about.st_ino, 0, 0, 0, 0, path, NULL, NULL, 0));
}

int unlink(const char *path) { return do_unlink(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char *path, int flags) { return do_unlink(folder, path, flags); }
int rmdir(const char *path) { return do_unlink(AT_FDCWD, path, AT_REMOVEDIR); }

static int do_mkdir(int folder, const char *given, mode_t mode) {
    char path[PATH_MAX];
    struct stat about;
    if (!on(CHANGES) || !of_path(folder, given, path) || !look(path, &about))
        return syscall(SYS_mkdirat, folder, given, mode);
    DO(MKDIR, path, syscall(SYS_mkdirat, folder, given, mode),
       (look(path, &about), note(MKDIR, number, result, about.st_ino, 0, 0, 0, 0, path, NULL, NULL, 0)));
}

int mkdir(const char *path, mode_t mode) { return do_mkdir(AT_FDCWD, path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return do_mkdir(folder, path, mode); }

static int do_link(int folder, const char *from, int folder2, const char *to, int flags) {
    char path[PATH_MAX], second[PATH_MAX];
    struct stat about;
    if (!on(CHANGES) || !of_path(folder2, to, second)) return syscall(SYS_linkat, folder, from, folder2, to, flags);
    of_path(folder, from, path);
    if (look(path, &about)) return -1;
    DO(LINK, second, syscall(SYS_linkat, folder, from, folder2, to, flags),
       note(LINK, number, result, about.st_ino, 0, 0, 0, 0, path, second, NULL, 0));
}

int link(const char *from, const char *to) { return do_link(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int a, const char *from, int b, const char *to, int flags) { return do_link(a, from, b, to, flags); }

static int do_symlink(const char *target, int folder, const char *given) {
    char path[PATH_MAX];
    struct stat about;
    if (!on(CHANGES) || !of_path(folder, given, path)) return syscall(SYS_symlinkat, target, folder, given);
    DO(SYMLINK, path, syscall(SYS_symlinkat, target, folder, given),
       (look(path, &about), note(SYMLINK, number, result, about.st_ino, 0, 0, 0, 0, target, path, NULL, 0)));
}

int symlink(const char *target, const char *path) { return do_symlink(target, AT_FDCWD, path); }
int symlinkat(const char *target, int folder, const char *path) { return do_symlink(target, folder, path); }

/* ------------------------------------------------------------------------------------------------------------------
 * reading */

static ssize_t do_read(int file, void *data, size_t size, off_t at, int placed) {
    char path[PATH_MAX];
    if (!on(READS) || !of_file(file, path))
        return placed ? syscall(SYS_pread64, file, data, size, at) : syscall(SYS_read, file, data, size);
    long number;
    int fate = next(READ, path, &number);
    if (fate == FAIL) return failed();
    if (fate == SHORT && size > 1) size = (size + 1) / 2;
    ssize_t done = placed ? syscall(SYS_pread64, file, data, size, at) : syscall(SYS_read, file, data, size);
    if (done >= 0) note(READ, number, done, 0, 0, at, done, 0, path, NULL, NULL, 0);
    if (fate == KILL_AFTER || fate == TORN_KILL) die();
    return done;
}

ssize_t read(int file, void *data, size_t size) { return do_read(file, data, size, 0, 0); }
ssize_t pread(int file, void *data, size_t size, off_t at) { return do_read(file, data, size, at, 1); }
ssize_t pread64(int file, void *data, size_t size, off64_t at) { return do_read(file, data, size, at, 1); }
ssize_t __read_chk(int file, void *data, size_t size, size_t room) { return do_read(file, data, size, 0, 0); }

/* ------------------------------------------------------------------------------------------------------------------
 * HDF5: h5py brings its library along, loaded out of our sight; calls are found by name in it */

typedef int64_t hid_t;
typedef int herr_t;

static void *library;

static int is_hdf5(struct dl_phdr_info *about, size_t size, void *found) {
    const char *name = strrchr(about->dlpi_name, '/');
    if (!name || strncmp(name + 1, "libhdf5", 7) || strstr(name, "_hl")) return 0;
    *(void **)found = dlopen(about->dlpi_name, RTLD_NOW | RTLD_NOLOAD);
    return 1;
}

static void *called(const char *name) {
    if (!library) dl_iterate_phdr(is_hdf5, &library);
    return library ? dlsym(library, name) : NULL;
}

static hid_t id_of(const char *name) {
    hid_t *found = called(name);
    return found ? *found : -1;
}

/* Leave on HDF5's stack of errors what a failed read or write of its own leaves there. */
static long hdf5_failed(const char *name) {
    herr_t (*push)(hid_t, const char *, const char *, unsigned, hid_t, hid_t, hid_t, const char *, ...) = called("H5Epush2");
    if (push)
        push(0, "H5FDsec2.c", name, 0, id_of("H5E_ERR_CLS_g"), id_of("H5E_IO_g"), id_of("H5E_WRITEERROR_g"),
             "%s: errno = %d, error message = '%s'", name, S->number, strerror(S->number));
    return -1;
}

#define H5(type, name, given, passed, where, first)                      \
    type name given {                                                    \
        static type(*real) given;                                        \
        if (!real) real = called(#name);                                 \
        if (!on(HDF5)) return real passed;                               \
        long number;                                                     \
        char text[300];                                                  \
        snprintf(text, sizeof text, "%s %s", #name, (where) ? (where) : ""); \
        int fate = next(CALL, text, &number);                            \
        if (fate == FAIL && !first) return hdf5_failed(#name);           \
        busy++;                                                          \
        type result = real passed;                                       \
        busy--;                                                          \
        note(CALL, number, result, 0, 0, 0, 0, 0, text, NULL, NULL, 0);  \
        if (fate == KILL_AFTER || fate == TORN_KILL) die();              \
        return fate == FAIL ? hdf5_failed(#name) : result;               \
    }

#define NONE ((char *)NULL)

H5(hid_t, H5Fcreate, (const char *n, unsigned f, hid_t c, hid_t a), (n, f, c, a), NONE, 0)
H5(hid_t, H5Fopen, (const char *n, unsigned f, hid_t a), (n, f, a), NONE, 0)
H5(herr_t, H5Fflush, (hid_t o, int s), (o, s), NONE, 0)
H5(herr_t, H5Fclose, (hid_t f), (f), NONE, 1)
H5(hid_t, H5Gcreate2, (hid_t p, const char *n, hid_t l, hid_t c, hid_t a), (p, n, l, c, a), n, 0)
H5(hid_t, H5Gopen2, (hid_t p, const char *n, hid_t a), (p, n, a), n, 0)
H5(hid_t, H5Oopen, (hid_t p, const char *n, hid_t a), (p, n, a), n, 0)
H5(herr_t, H5Olink, (hid_t o, hid_t p, const char *n, hid_t l, hid_t a), (o, p, n, l, a), n, 0)
H5(hid_t, H5Dcreate2, (hid_t p, const char *n, hid_t t, hid_t s, hid_t l, hid_t c, hid_t a), (p, n, t, s, l, c, a), n, 0)
H5(hid_t, H5Dcreate_anon, (hid_t p, hid_t t, hid_t s, hid_t c, hid_t a), (p, t, s, c, a), NONE, 0)
H5(hid_t, H5Dopen2, (hid_t p, const char *n, hid_t a), (p, n, a), n, 0)
H5(herr_t, H5Dwrite, (hid_t d, hid_t m, hid_t s, hid_t f, hid_t x, const void *b), (d, m, s, f, x, b), NONE, 0)
H5(herr_t, H5Dread, (hid_t d, hid_t m, hid_t s, hid_t f, hid_t x, void *b), (d, m, s, f, x, b), NONE, 0)
H5(herr_t, H5Dset_extent, (hid_t d, const uint64_t *s), (d, s), NONE, 0)
H5(hid_t, H5Acreate2, (hid_t o, const char *n, hid_t t, hid_t s, hid_t c, hid_t a), (o, n, t, s, c, a), n, 0)
H5(hid_t, H5Acreate_by_name, (hid_t o, const char *p, const char *n, hid_t t, hid_t s, hid_t c, hid_t a, hid_t l),
   (o, p, n, t, s, c, a, l), n, 0)
H5(hid_t, H5Aopen, (hid_t o, const char *n, hid_t a), (o, n, a), n, 0)
H5(hid_t, H5Aopen_by_name, (hid_t o, const char *p, const char *n, hid_t a, hid_t l), (o, p, n, a, l), n, 0)
H5(herr_t, H5Awrite, (hid_t a, hid_t t, const void *b), (a, t, b), NONE, 0)
H5(herr_t, H5Aread, (hid_t a, hid_t t, void *b), (a, t, b), NONE, 0)
H5(herr_t, H5Aexists, (hid_t o, const char *n), (o, n), n, 0)
H5(herr_t, H5Aexists_by_name, (hid_t o, const char *p, const char *n, hid_t l), (o, p, n, l), n, 0)
H5(herr_t, H5Arename, (hid_t o, const char *n, const char *m), (o, n, m), n, 0)
H5(herr_t, H5Adelete, (hid_t o, const char *n), (o, n), n, 0)
H5(herr_t, H5Adelete_by_name, (hid_t o, const char *p, const char *n, hid_t l), (o, p, n, l), n, 0)
H5(herr_t, H5Lexists, (hid_t p, const char *n, hid_t l), (p, n, l), n, 0)
H5(herr_t, H5Literate1, (hid_t p, int i, int o, uint64_t *x, void *f, void *d), (p, i, o, x, f, d), NONE, 0)
H5(herr_t, H5Gget_info, (hid_t p, void *i), (p, i), NONE, 0)
H5(herr_t, H5Pset_virtual, (hid_t p, hid_t v, const char *f, const char *d, hid_t s), (p, v, f, d, s), f, 0)
