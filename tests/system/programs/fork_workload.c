// SPDX-License-Identifier: BSD-3-Clause
// Children that fork() makes, of a program with a handler of SIGSEGV of its own: how each of them ends, a
// line a case on standard output. They touch nothing of the heap but where the case is about that.
#define _GNU_SOURCE  // sigaction, MAP_ANONYMOUS
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const size_t kPage = 4096;
static volatile char* heap;
static volatile char* closed;  // two pages without access
static volatile int faults, sent, masked;

static void handler(int number, siginfo_t* info, void* context) {
    (void)number;
    (void)context;
    if (info->si_code <= 0) {
        ++sent;
        return;
    }
    sigset_t blocked;
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    masked = sigismember(&blocked, SIGUSR1) == 1 && sigismember(&blocked, SIGSEGV) == 1;
    char* page = (char*)info->si_addr;
    if (page != closed && page != closed + kPage) _exit(50);
    mprotect(page, kPage, PROT_READ | PROT_WRITE);
    ++faults;
}

static void own_fault(void) {
    closed[0] = 1;
    closed[kPage] = 1;
    _exit(faults == 2 && masked ? 0 : 1);
}

static void own_fault_then_heap(void) {
    closed[0] = 1;
    _exit(heap[0]);
}

static void sent_to_itself(void) {
    kill(getpid(), SIGSEGV);
    _exit(sent == 1 ? 0 : 1);
}

static void grandchild(void) {
    const pid_t child = fork();
    if (child == 0) own_fault_then_heap();
    int status = 0;
    waitpid(child, &status, 0);
    closed[0] = 1;
    _exit(faults == 1 && WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

static void end_of(const char* name, void (*act)(void)) {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) act();
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status))
        printf("%s: exit %d\n", name, WEXITSTATUS(status));
    else
        printf("%s: signal %d\n", name, WTERMSIG(status));
}

int main(void) {
    heap = malloc(8 << 20);  // more than the allocator had before the preload library came
    heap[0] = 1;
    closed = mmap(NULL, 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaddset(&action.sa_mask, SIGUSR1);
    sigaction(SIGSEGV, &action, NULL);
    end_of("own fault", own_fault);
    end_of("own fault, then heap", own_fault_then_heap);
    end_of("sent", sent_to_itself);
    end_of("grandchild", grandchild);

    action.sa_flags |= (int)SA_RESETHAND;
    sigaction(SIGSEGV, &action, NULL);
    end_of("handler for once", own_fault);

    signal(SIGSEGV, SIG_DFL);
    end_of("default", own_fault);
    end_of("default, then sent", sent_to_itself);

    signal(SIGSEGV, SIG_IGN);
    end_of("ignored", own_fault);
    end_of("ignored, then sent", sent_to_itself);
    return 0;
}
