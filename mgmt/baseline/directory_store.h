// SPDX-License-Identifier: BSD-3-Clause
// Objects as files of a directory: a local disk, or a file system that several machines share.
//
// A key's components are folders and a file name. Files are created with mode 0600, folders with 0700;
// symbolic links inside the directory are not followed. Exclusive creation is link(2) of a finished temporary
// file, which NFS and cluster file systems have too.
#pragma once

#include <filesystem>
#include <mutex>
#include <set>

#include "datapath/memory/mapped_file.h"
#include "mgmt/baseline/file_calls.h"
#include "mgmt/baseline/object_store.h"

namespace lagan::baseline {

class DirectoryStore final : public ObjectStore {
  public:
    // Opens the directory, which is made if its parent exists. Throws StoreError; a directory that everybody
    // may write to is refused. `calls` outlives the store.
    explicit DirectoryStore(const std::filesystem::path& path, FileCalls& calls = FileCalls::real());

    void put(const std::string& key, std::span<const Bytes> content) override;
    bool put_exclusive(const std::string& key, Bytes content) override;
    void get(const std::string& key, uint64_t offset, std::span<std::byte> to) override;
    uint64_t size_bytes(const std::string& key) override;
    std::vector<std::string> list(const std::string& prefix) override;
    std::vector<std::string> folders() override;
    void remove(const std::string& key) override;
    void remove_unfinished(const std::string& folder, std::chrono::seconds age) override;
    const std::string& where() const override { return where_; }

  private:
    [[noreturn]] void fail(int error, const std::string& what, const std::string& key) const;
    // The folder of a key. Throws if it is missing and may not be made.
    memory::FileDescriptor open_folder(const std::string& key, bool make);
    std::vector<std::string> names_in(const memory::FileDescriptor& folder, const std::string& key,
                                      bool hidden) const;
    void make_folder(int parent, const std::string& name, const std::string& path);
    memory::FileDescriptor open_object(const std::string& key);
    void write(int folder, const std::string& name, const std::string& key, std::span<const Bytes> content);
    void sync(int folder, const std::string& key);

    const std::string where_;
    FileCalls& calls_;
    memory::FileDescriptor root_;
    std::mutex mutex_;
    std::set<std::string> folders_made_;  // and known to be durable; under mutex_
};

}  // namespace lagan::baseline
