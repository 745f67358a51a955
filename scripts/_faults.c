/* Lets one kind of system call fail on the files of one folder: LD_PRELOAD=faults.so FAULT=CALL:ERRNO:NTH:FOLDER[:RANK].

The NTH call of that kind and all after it fail with ERRNO; with ERRNO 0, reads and writes are short instead: one byte
less than was asked for, at least one. Only calls on files below FOLDER count, and of RANK if it is given. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char call_name[32], folder[PATH_MAX];
static int number = -1, first, calls, is_ready;

static void prepare(void)
{
    const char *fault = getenv("FAULT"), *rank = getenv("PMI_RANK");
    int only = -1;
    is_ready = 1;
    if (!rank)
        rank = getenv("OMPI_COMM_WORLD_RANK");
    if (!fault || sscanf(fault, "%31[^:]:%d:%d:%4000[^:]:%d", call_name, &number, &first, folder, &only) < 4)
        number = -1;
    else if (only >= 0 && only != (rank ? atoi(rank) : 0))
        number = -1;
}

/* 0: let it pass; 1: fail, errno is set; 2: make it short. */
static int strikes(const char *name, const char *path)
{
    if (!is_ready)
        prepare();
    if (number < 0 || strcmp(name, call_name) || !path || strncmp(path, folder, strlen(folder)))
        return 0;
    if (++calls < first)
        return 0;
    errno = number;
    return number ? 1 : 2;
}

static int strikes_at(const char *name, int fd)
{
    char link[64], path[PATH_MAX];
    ssize_t length;
    if (!is_ready)
        prepare();
    if (number < 0 || strcmp(name, call_name))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strikes(name, path);
}

/* Names relative to an open folder. */
static int strikes_in(const char *name, int fd, const char *path)
{
    return path && path[0] == '/' ? strikes(name, path) : fd == AT_FDCWD ? 0 : strikes_at(name, fd);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define LESS(count) ((count) > 1 ? (count) - 1 : (count))

#define TRANSFER(symbol, kind, buffer)                                                                                 \
    ssize_t symbol(int fd, buffer data, size_t count)                                                                  \
    {                                                                                                                  \
        int how = strikes_at(kind, fd);                                                                                \
        return how == 1 ? -1 : REAL(symbol)(fd, data, how ? LESS(count) : count);                                      \
    }
#define TRANSFER_AT(symbol, kind, buffer, offset_type)                                                                 \
    ssize_t symbol(int fd, buffer data, size_t count, offset_type offset)                                              \
    {                                                                                                                  \
        int how = strikes_at(kind, fd);                                                                                \
        return how == 1 ? -1 : REAL(symbol)(fd, data, how ? LESS(count) : count, offset);                              \
    }
TRANSFER(write, "write", const void *)
TRANSFER(read, "read", void *)
TRANSFER_AT(pwrite, "write", const void *, off_t)
TRANSFER_AT(pwrite64, "write", const void *, off64_t)
TRANSFER_AT(pread, "read", void *, off_t)
TRANSFER_AT(pread64, "read", void *, off64_t)

#define ON_FILE(symbol, kind, parameters, arguments)                                                                   \
    int symbol parameters { return strikes_at(kind, fd) ? -1 : REAL(symbol) arguments; }
ON_FILE(ftruncate, "ftruncate", (int fd, off_t size), (fd, size))
ON_FILE(ftruncate64, "ftruncate", (int fd, off64_t size), (fd, size))
ON_FILE(fsync, "fsync", (int fd), (fd))
ON_FILE(fdatasync, "fsync", (int fd), (fd))
ON_FILE(flock, "flock", (int fd, int operation), (fd, operation))

int close(int fd)
{
    int how = strikes_at("close", fd), result = REAL(close)(fd); /* it is closed all the same, as Linux does */
    if (how)
        errno = number;
    return how ? -1 : result;
}

int posix_fallocate(int fd, off_t offset, off_t length)
{
    return strikes_at("fallocate", fd) ? number : REAL(posix_fallocate)(fd, offset, length);
}

#define ON_PATH(symbol, kind, parameters, path, arguments)                                                             \
    int symbol parameters { return strikes(kind, path) ? -1 : REAL(symbol) arguments; }
#define IN_FOLDER(symbol, kind, parameters, fd, path, arguments)                                                       \
    int symbol parameters { return strikes_in(kind, fd, path) ? -1 : REAL(symbol) arguments; }
ON_PATH(rename, "rename", (const char *from, const char *to), to, (from, to))
IN_FOLDER(renameat, "rename", (int a, const char *from, int b, const char *to), b, to, (a, from, b, to))
ON_PATH(link, "link", (const char *from, const char *to), to, (from, to))
IN_FOLDER(linkat, "link", (int a, const char *from, int b, const char *to, int flags), b, to, (a, from, b, to, flags))
ON_PATH(unlink, "unlink", (const char *path), path, (path))
IN_FOLDER(unlinkat, "unlink", (int fd, const char *path, int flags), fd, path, (fd, path, flags))
ON_PATH(mkdir, "mkdir", (const char *path, mode_t mode), path, (path, mode))

#define OPENS(symbol)                                                                                                  \
    int symbol(const char *path, int flags, ...)                                                                       \
    {                                                                                                                  \
        va_list more;                                                                                                  \
        mode_t mode;                                                                                                   \
        va_start(more, flags);                                                                                         \
        mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;                                             \
        va_end(more);                                                                                                  \
        return strikes(flags & O_CREAT ? "create" : "open", path) ? -1 : REAL(symbol)(path, flags, mode);              \
    }
OPENS(open)
OPENS(open64)

#define OPENS_IN(symbol)                                                                                               \
    int symbol(int fd, const char *path, int flags, ...)                                                               \
    {                                                                                                                  \
        va_list more;                                                                                                  \
        mode_t mode;                                                                                                   \
        va_start(more, flags);                                                                                         \
        mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;                                             \
        va_end(more);                                                                                                  \
        return strikes_in(flags & O_CREAT ? "create" : "open", fd, path) ? -1 : REAL(symbol)(fd, path, flags, mode);   \
    }
OPENS_IN(openat)
OPENS_IN(openat64)
