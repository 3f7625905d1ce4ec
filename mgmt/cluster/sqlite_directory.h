// SPDX-License-Identifier: BSD-3-Clause
// The directory as one SQLite file, for a manager without a cluster: write-ahead log, every change synced.
// Several processes of one machine may use it at a time. Leadership is in a file beside it (leader_file.h).
#pragma once

#include <mutex>

#include "mgmt/cluster/directory.h"
#include "mgmt/cluster/leader_file.h"

struct sqlite3;

namespace lagan::cluster {

class SqliteDirectory final : public Directory {
  public:
    explicit SqliteDirectory(std::filesystem::path file);
    ~SqliteDirectory() override;
    SqliteDirectory(const SqliteDirectory&) = delete;
    SqliteDirectory& operator=(const SqliteDirectory&) = delete;

    std::optional<Entry> get(const std::string& key) override;
    std::vector<Entry> list(const std::string& prefix, const std::string& after, uint64_t limit) override;
    std::optional<uint64_t> put(const std::string& key, const nlohmann::json& value,
                                uint64_t expected) override;
    bool remove(const std::string& key, uint64_t expected) override;
    uint64_t revision() override;
    bool campaign(const std::string& candidate, std::chrono::milliseconds ttl) override {
        return leader_.campaign(candidate, ttl);
    }
    std::string leader() override { return leader_.leader(); }
    void resign(const std::string& candidate) override { leader_.resign(candidate); }
    std::string describe() const override;

  private:
    class Statement;
    class Transaction;

    void open();
    void use_log();
    void make_tables();
    void execute(const char* sql);
    [[noreturn]] void fail(int code) const;
    nlohmann::json parse(const std::string& key, const std::string& text) const;
    uint64_t next_revision();  // within a transaction

    const std::filesystem::path file_;
    LeaderFile leader_;
    std::mutex mutex_;
    sqlite3* database_ = nullptr;  // under mutex_
};

}  // namespace lagan::cluster
