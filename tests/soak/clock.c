/* Preloaded into a server: its wall clock differs from the machine's by the nanoseconds in the file SKEWED_CLOCK.
   The monotonic clock stays. Debian's libfaketime does not run with jemalloc, which asks for the time before
   libraries are ready; system calls need nothing to be ready. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static volatile const long long *difference;

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("SKEWED_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return;
    void *page = mmap(0, sizeof *difference, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) difference = page;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (syscall(SYS_clock_gettime, clock, now)) return -1;
    if (difference && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        long long moved = now->tv_sec * SECOND + now->tv_nsec + *difference;
        now->tv_sec = moved / SECOND;
        now->tv_nsec = moved % SECOND;
    }
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &precise)) return -1;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
