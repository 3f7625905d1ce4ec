// SPDX-License-Identifier: BSD-3-Clause
#include "client/verbs_memory.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace lagan::client {

std::string no_memory(const std::string& what, int error) {
    rlimit limit{};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    if (error != ENOMEM || limit.rlim_cur == RLIM_INFINITY)
        return fmt::format("{}: {}", what, strerror(error));
    return fmt::format(
        "{}: {}. This process may lock {} KiB of memory (RLIMIT_MEMLOCK), which is probably too little: "
        "`ulimit -l unlimited` before starting it, LimitMEMLOCK=infinity in a service's unit, or a line "
        "`* - memlock unlimited` in /etc/security/limits.conf",
        what, strerror(error), limit.rlim_cur / 1024);
}

RegisteredMemory register_with_device(ibv_pd* domain, const void* memory, size_t bytes, int access) {
    RegisteredMemory region(ibv_reg_mr(domain, const_cast<void*>(memory), bytes, access));
    if (region == nullptr)
        throw std::runtime_error(
            no_memory(fmt::format("cannot register {} KiB of memory with RDMA device {}",
                                  (bytes + 1023) / 1024, ibv_get_device_name(domain->context->device)),
                      errno));
    return region;
}

}  // namespace lagan::client
