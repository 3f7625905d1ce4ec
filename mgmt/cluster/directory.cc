// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/directory.h"

#include "mgmt/cluster/etcd_directory.h"
#include "mgmt/cluster/sqlite_directory.h"

namespace lagan::cluster {

std::unique_ptr<Directory> open_directory(const DirectoryOptions& options) {
    if (options.endpoints.empty()) return std::make_unique<SqliteDirectory>(options.file);
    return std::make_unique<EtcdDirectory>(options);
}

}  // namespace lagan::cluster
