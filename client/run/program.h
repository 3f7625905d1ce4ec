// SPDX-License-Identifier: BSD-3-Clause
// The program that `lagan run` starts: looked up and checked first, forked early (before any heavy start, so
// that it inherits nothing of it), executed when the pager is ready.
#pragma once

#include <sys/types.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "client/pager/descriptor.h"

namespace lagan::client::run {

// Something that ends `lagan run` before the program runs; `exit_status` as env(1) has them.
class StartError : public std::runtime_error {
  public:
    StartError(int exit_status, const std::string& message)
        : std::runtime_error(message), exit_status_(exit_status) {}
    int exit_status() const { return exit_status_; }

  private:
    int exit_status_;
};

// The file that execvp would run. Throws StartError if there is none, or if it is one that cannot have a far
// heap: static, not of this architecture, or one that gains rights (setuid, file capabilities).
std::string find_program(const std::string& name);

class Program {
  public:
    // Forks; the child waits. Blocks the signals that `lagan run` forwards, in this process only, and before
    // the fork, so that none is lost. Call from the main thread, before there are others: the child is killed
    // when that thread ends.
    Program(std::string path, std::vector<std::string> arguments);
    ~Program();  // kills the child if it still runs
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    pid_t pid() const { return pid_; }
    // Readable when the program has ended.
    int descriptor() const { return pidfd_.get(); }
    // Readable when there are signals to forward.
    int signal_descriptor() const { return signals_.get(); }

    // Has it ended?
    bool has_ended() const;
    // Has it ended, or is there a signal to forward?
    bool wants_attention() const;

    // Lets the child execute, with these variables (NAME=value) in front of its environment. Throws
    // StartError if it cannot.
    void execute(const std::vector<std::string>& variables);
    void forward_signals();
    void kill();
    // Waits for the end; 128 + number if a signal ended it.
    int wait();

  private:
    pid_t pid_ = -1;
    bool ended_ = false;
    int status_ = 0;
    std::string path_;
    pager::Descriptor pidfd_, signals_, go_, error_;
};

}  // namespace lagan::client::run
