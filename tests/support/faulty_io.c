/* Makes the n-th write operation below a folder fail; tests/support/faults.py preloads it.
 *
 * FAULT_ROOT   absolute path: only what lies below it counts
 * FAULT_KIND   COUNT, ENOSPC, EIO, EINTR, SHORT, KILL
 * FAULT_AT     which operation, from 1; those that cannot fail in this way are not counted
 * FAULT_STATE  a file that all processes of a trial share: how many operations of each kind there
 *              were, and whether the fault has come
 *
 * EIO, EINTR and SHORT come once. ENOSPC stays: a full disk is full for the next write too. KILL
 * kills the process just before the operation. A child of the warm server gets its environment
 * after the fork, so the variables are looked up at every operation until they are there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ENOSPC_ = 1, EIO_ = 2, EINTR_ = 4, SHORT_ = 8, KILL_ = 16 };
enum { KINDS = 5 };

/* What an operation can meet. */
#define DATA (ENOSPC_ | EIO_ | EINTR_ | SHORT_ | KILL_)
#define CREATION (ENOSPC_ | EIO_ | EINTR_ | KILL_)
#define OPENING (EIO_ | EINTR_ | KILL_)
#define ENTRY (ENOSPC_ | EIO_ | KILL_)
#define REMOVAL (EIO_ | KILL_)
#define FLUSH (ENOSPC_ | EIO_ | EINTR_ | KILL_)

struct state {
    atomic_ulong counts[KINDS];
    atomic_ulong fired;
    char what[4096 - 8 * (KINDS + 1)];
};

static struct state *state;
static char root[PATH_MAX];
static size_t root_length;
static unsigned kind;
static unsigned long at;

static const char *const NAMES[KINDS] = {"ENOSPC", "EIO", "EINTR", "SHORT", "KILL"};

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static int armed(void) {
    if (state) return 1;
    const char *folder = getenv("FAULT_ROOT"), *wanted = getenv("FAULT_KIND");
    const char *number = getenv("FAULT_AT"), *file = getenv("FAULT_STATE");
    if (!folder || !wanted || !number || !file || strlen(folder) >= sizeof root) return 0;
    /* By system call: the wrappers below must not meet themselves. */
    int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC);
    if (fd < 0) return 0;
    void *shared = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (shared == MAP_FAILED) return 0;
    strcpy(root, folder);
    root_length = strlen(root);
    kind = 0;
    for (int i = 0; i < KINDS; i++)
        if (!strcmp(wanted, NAMES[i])) kind = 1u << i;
    at = strtoul(number, NULL, 10);
    state = shared;
    return 1;
}

static int below_root(const char *path) {
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int of_descriptor(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0;
}

static int concerns_path(int folder, const char *path) {
    char whole[2 * PATH_MAX + 2], base[PATH_MAX];
    if (!path || !armed()) return 0;
    if (path[0] == '/') return below_root(path);
    if (folder == AT_FDCWD ? !getcwd(base, sizeof base) : !of_descriptor(folder, base)) return 0;
    snprintf(whole, sizeof whole, "%s/%s", base, strncmp(path, "./", 2) ? path : path + 2);
    return below_root(whole);
}

static int concerns_descriptor(int fd) {
    char path[PATH_MAX];
    return armed() && of_descriptor(fd, path) && below_root(path);
}

/* Counts an operation; returns what it meets: 0, an errno, or -1 for a short write. */
static int meet(unsigned possible, const char *operation, const char *path) {
    unsigned long mine = 0;
    for (int i = 0; i < KINDS; i++)
        if (possible & (1u << i)) {
            unsigned long now = atomic_fetch_add(&state->counts[i], 1) + 1;
            if (kind == 1u << i) mine = now;
        }
    if (!mine || mine < at || (mine > at && kind != ENOSPC_)) return 0;
    if (mine == at) {
        snprintf(state->what, sizeof state->what, "%s %s", operation, path);
        atomic_store(&state->fired, 1);
    }
    switch (kind) {
    case KILL_: kill(getpid(), SIGKILL); return 0;
    case ENOSPC_: return ENOSPC;
    case EIO_: return EIO;
    case EINTR_: return EINTR;
    default: return -1;
    }
}

static int meet_path(unsigned possible, const char *operation, int folder, const char *path) {
    int before = errno;
    int met = concerns_path(folder, path) ? meet(possible, operation, path) : 0;
    errno = met > 0 ? met : before;
    return met > 0;
}

/* As meet, for a descriptor: sets errno to an error that is met. */
static int meet_descriptor(unsigned possible, const char *operation, int fd) {
    int before = errno, met = 0;
    char path[PATH_MAX];
    if (concerns_descriptor(fd) && of_descriptor(fd, path)) met = meet(possible, operation, path);
    errno = met > 0 ? met : before;
    return met;
}

static unsigned of_flags(int flags) {
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) return CREATION;
    return (flags & O_ACCMODE) == O_RDONLY ? 0 : OPENING;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        unsigned possible = of_flags(flags); \
        if (possible && meet_path(possible, "open", AT_FDCWD, path)) return -1; \
        return real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        unsigned possible = of_flags(flags); \
        if (possible && meet_path(possible, "open", folder, path)) return -1; \
        return real(folder, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

#define CREAT(name) \
    int name(const char *path, mode_t mode) { \
        REAL(name); \
        if (meet_path(CREATION, "open", AT_FDCWD, path)) return -1; \
        return real(path, mode); \
    }
CREAT(creat)
CREAT(creat64)

static size_t shortened(size_t length) { return length > 1 ? length / 2 : length; }

ssize_t write(int fd, const void *data, size_t length) {
    REAL(write);
    int met = meet_descriptor(DATA, "write", fd);
    if (met > 0) return -1;
    return real(fd, data, met < 0 ? shortened(length) : length);
}

#define PWRITE(name, offset_type) \
    ssize_t name(int fd, const void *data, size_t length, offset_type offset) { \
        REAL(name); \
        int met = meet_descriptor(DATA, "write", fd); \
        if (met > 0) return -1; \
        return real(fd, data, met < 0 ? shortened(length) : length, offset); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

/* Cut short, these write the first half of the first part. */
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    int met = meet_descriptor(DATA, "write", fd);
    if (met > 0) return -1;
    struct iovec first = {parts[0].iov_base, shortened(parts[0].iov_len)};
    return met < 0 ? real(fd, &first, 1) : real(fd, parts, count);
}

#define PWRITEV(name, offset_type) \
    ssize_t name(int fd, const struct iovec *parts, int count, offset_type offset) { \
        REAL(name); \
        int met = meet_descriptor(DATA, "write", fd); \
        if (met > 0) return -1; \
        struct iovec first = {parts[0].iov_base, shortened(parts[0].iov_len)}; \
        return met < 0 ? real(fd, &first, 1, offset) : real(fd, parts, count, offset); \
    }
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

#define SENDFILE(name, offset_type) \
    ssize_t name(int out, int in, offset_type *offset, size_t length) { \
        REAL(name); \
        int met = meet_descriptor(DATA, "write", out); \
        if (met > 0) return -1; \
        return real(out, in, offset, met < 0 ? shortened(length) : length); \
    }
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t length, unsigned flags) {
    REAL(copy_file_range);
    int met = meet_descriptor(DATA, "write", out);
    if (met > 0) return -1;
    return real(in, from, out, to, met < 0 ? shortened(length) : length, flags);
}

#define TRUNCATE(name, offset_type) \
    int name(int fd, offset_type length) { \
        REAL(name); \
        return meet_descriptor(FLUSH, "truncate", fd) > 0 ? -1 : real(fd, length); \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define SYNC(name) \
    int name(int fd) { \
        REAL(name); \
        return meet_descriptor(FLUSH, "fsync", fd) > 0 ? -1 : real(fd); \
    }
SYNC(fsync)
SYNC(fdatasync)

/* A descriptor is closed even if closing it reports what an earlier write met. */
int close(int fd) {
    REAL(close);
    int before = errno, met = 0;
    int flags = armed() ? fcntl(fd, F_GETFL) : -1;
    errno = before;
    if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY)
        met = meet_descriptor(ENOSPC_ | EIO_ | KILL_, "close", fd);
    if (met <= 0) return real(fd);
    real(fd);
    errno = met;
    return -1;
}

int rename(const char *from, const char *to) {
    REAL(rename);
    return meet_path(ENTRY, "rename", AT_FDCWD, to) ? -1 : real(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    REAL(renameat);
    return meet_path(ENTRY, "rename", to_folder, to) ? -1 : real(from_folder, from, to_folder, to);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    REAL(renameat2);
    if (meet_path(ENTRY, "rename", to_folder, to)) return -1;
    return real(from_folder, from, to_folder, to, flags);
}

int link(const char *from, const char *to) {
    REAL(link);
    return meet_path(ENTRY, "link", AT_FDCWD, to) ? -1 : real(from, to);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    REAL(linkat);
    if (meet_path(ENTRY, "link", to_folder, to)) return -1;
    return real(from_folder, from, to_folder, to, flags);
}

int symlink(const char *from, const char *to) {
    REAL(symlink);
    return meet_path(ENTRY, "symlink", AT_FDCWD, to) ? -1 : real(from, to);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return meet_path(ENTRY, "mkdir", AT_FDCWD, path) ? -1 : real(path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode) {
    REAL(mkdirat);
    return meet_path(ENTRY, "mkdir", folder, path) ? -1 : real(folder, path, mode);
}

int unlink(const char *path) {
    REAL(unlink);
    return meet_path(REMOVAL, "unlink", AT_FDCWD, path) ? -1 : real(path);
}

int unlinkat(int folder, const char *path, int flags) {
    REAL(unlinkat);
    return meet_path(REMOVAL, "unlink", folder, path) ? -1 : real(folder, path, flags);
}

int rmdir(const char *path) {
    REAL(rmdir);
    return meet_path(REMOVAL, "rmdir", AT_FDCWD, path) ? -1 : real(path);
}

int chmod(const char *path, mode_t mode) {
    REAL(chmod);
    return meet_path(REMOVAL, "chmod", AT_FDCWD, path) ? -1 : real(path, mode);
}
