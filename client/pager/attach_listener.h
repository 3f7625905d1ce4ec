// SPDX-License-Identifier: BSD-3-Clause
// Where programs hand over their mapping (attach_message.h).
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "client/pager/descriptor.h"
#include "client/pager/userfault_space.h"

namespace lagan::client::pager {

class AttachListener {
  public:
    // Makes a directory that only this user can enter, and the socket in it. Throws std::system_error.
    AttachListener();
    ~AttachListener();  // removes both

    const std::string& path() const { return path_; }
    int descriptor() const { return listener_.get(); }

    struct Attachment {
        std::unique_ptr<UserfaultSpace> space;  // null: refused, and already answered
        Descriptor connection;
    };
    // Takes one connection. Only the process `program` is let in, with a mapping of `bytes`; everyone else is
    // refused. Waits at most a second for its request.
    Attachment accept(pid_t program, uint64_t bytes);

    // Lets the program go on.
    static void confirm(const Attachment& attachment);

  private:
    std::string directory_, path_;
    Descriptor listener_;
};

}  // namespace lagan::client::pager
