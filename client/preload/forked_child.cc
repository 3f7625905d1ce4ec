// SPDX-License-Identifier: BSD-3-Clause
#include "client/preload/forked_child.h"

#include <pthread.h>
#include <signal.h>

#include "client/preload/far_mapping.h"

namespace lagan::client::preload {

namespace {

FarMapping* far_mapping = nullptr;
struct sigaction programs_own {};  // written in the child after fork(), while it has one thread

// For good: what the kernel does by default cannot be called.
void give_back(bool sent) {
    programs_own.sa_handler = SIG_DFL;
    sigaction(SIGSEGV, &programs_own, nullptr);
    // A fault comes again when the instruction is tried again. What was sent does not.
    if (sent) raise(SIGSEGV);
}

void on_segv(int number, siginfo_t* info, void* context) {
    const bool sent = info->si_code <= 0;  // then there is no address
    if (!sent && far_mapping->contains(info->si_addr)) {
        die("a child process that fork() made without exec touched the heap, which is far memory of its "
            "parent: "
            "run this program without lagan, or have it exec or use threads");
    }
    const struct sigaction own = programs_own;
    if (own.sa_handler == SIG_IGN && sent) return;
    if (own.sa_handler == SIG_DFL || own.sa_handler == SIG_IGN) {
        give_back(sent);
        return;
    }
    if ((own.sa_flags & static_cast<int>(SA_RESETHAND)) != 0) programs_own.sa_handler = SIG_DFL;
    if ((own.sa_flags & SA_SIGINFO) != 0) {
        own.sa_sigaction(number, info, context);
    } else {
        own.sa_handler(number);
    }
}

void after_fork_in_child() {
    struct sigaction found {};
    if (sigaction(SIGSEGV, nullptr, &found) != 0) return;
    // The child of a child that has it already.
    if ((found.sa_flags & SA_SIGINFO) != 0 && found.sa_sigaction == on_segv) return;
    programs_own = found;
    // The program's handler runs as it asked to: its mask, its stack.
    struct sigaction action = found;
    if (found.sa_handler == SIG_DFL || found.sa_handler == SIG_IGN) {
        sigemptyset(&action.sa_mask);
        action.sa_flags = SA_ONSTACK;
    }
    action.sa_flags = (action.sa_flags & ~static_cast<int>(SA_RESETHAND)) | SA_SIGINFO;
    action.sa_sigaction = on_segv;
    sigaction(SIGSEGV, &action, nullptr);
}

}  // namespace

void watch_forked_children(FarMapping& mapping) {
    far_mapping = &mapping;
    pthread_atfork(nullptr, nullptr, after_fork_in_child);
}

}  // namespace lagan::client::preload
