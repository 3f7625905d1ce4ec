// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/sqlite_directory.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

namespace lagan::cluster {

using Kind = DirectoryError::Kind;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

constexpr uint64_t kApplication = 0x4c61676e;  // "Lagn": not some other program's database
constexpr uint64_t kFormat = 1;
constexpr std::chrono::milliseconds kBusyTimeout = 5s;

std::string errno_text() {
    return std::strerror(errno);
}

// The first key after all that begin with the prefix; empty: there is none.
std::string end_of(std::string prefix) {
    while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff)
        prefix.pop_back();
    if (!prefix.empty()) ++prefix.back();
    return prefix;
}

// The file holds grants and hashes of tokens. SQLite gives its log the same mode.
void make_private_file(const std::filesystem::path& file) {
    std::error_code ignored;
    if (file.has_parent_path()) std::filesystem::create_directories(file.parent_path(), ignored);
    const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        throw DirectoryError(errno == ENOSPC ? Kind::no_space : Kind::refused,
                             file.string() + ": cannot open the directory's file: " + errno_text());
    struct stat status {};
    const bool known = fstat(fd, &status) == 0;
    close(fd);
    if (!known || (status.st_mode & 077) != 0)
        throw DirectoryError(Kind::refused, file.string() +
                                                ": others than its owner may read it, and it holds grants: "
                                                "chmod 600 " +
                                                file.string());
}

}  // namespace

// One prepared statement, run once.
class SqliteDirectory::Statement {
  public:
    Statement(SqliteDirectory& directory, const char* sql) : directory_(directory) {
        if (const int code = sqlite3_prepare_v2(directory.database_, sql, -1, &statement_, nullptr);
            code != SQLITE_OK)
            directory.fail(code);
    }
    ~Statement() { sqlite3_finalize(statement_); }
    Statement(const Statement&) = delete;
    Statement& operator=(const Statement&) = delete;

    // The text must outlive the statement.
    void bind(int index, const std::string& text) {
        check(sqlite3_bind_text64(statement_, index, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8));
    }
    void bind(int index, uint64_t number) {
        check(sqlite3_bind_int64(statement_, index, static_cast<int64_t>(number)));
    }
    bool step() {  // whether there is a row
        const int code = sqlite3_step(statement_);
        if (code != SQLITE_ROW && code != SQLITE_DONE) directory_.fail(code);
        return code == SQLITE_ROW;
    }
    std::string text(int column) {
        const auto* const bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
        const auto size = static_cast<size_t>(sqlite3_column_bytes(statement_, column));
        return bytes == nullptr ? std::string() : std::string(bytes, size);
    }
    uint64_t number(int column) { return static_cast<uint64_t>(sqlite3_column_int64(statement_, column)); }

  private:
    void check(int code) {
        if (code != SQLITE_OK) directory_.fail(code);
    }

    SqliteDirectory& directory_;
    sqlite3_stmt* statement_ = nullptr;
};

// Rolled back unless committed. The write lock is taken at the beginning: what is read in it stays true.
class SqliteDirectory::Transaction {
  public:
    explicit Transaction(SqliteDirectory& directory) : directory_(directory) {
        directory.execute("BEGIN IMMEDIATE");
    }
    ~Transaction() {
        if (!committed_) sqlite3_exec(directory_.database_, "ROLLBACK", nullptr, nullptr, nullptr);
    }
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;
    void commit() {
        directory_.execute("COMMIT");
        committed_ = true;
    }

  private:
    SqliteDirectory& directory_;
    bool committed_ = false;
};

SqliteDirectory::SqliteDirectory(std::filesystem::path file)
    : file_(std::move(file)), leader_(file_.string() + ".leader") {
    make_private_file(file_);
    try {
        open();
    } catch (...) {
        sqlite3_close(database_);
        throw;
    }
}

SqliteDirectory::~SqliteDirectory() {
    sqlite3_close(database_);
}

void SqliteDirectory::open() {
    const int code =
        sqlite3_open_v2(file_.c_str(), &database_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX, nullptr);
    if (code != SQLITE_OK) fail(code);
    sqlite3_extended_result_codes(database_, 1);
    sqlite3_busy_timeout(database_, static_cast<int>(kBusyTimeout.count()));
    use_log();
    execute("PRAGMA synchronous = FULL");
    make_tables();
    Statement check(*this, "PRAGMA quick_check(1)");
    if (check.step() && check.text(0) != "ok")
        throw DirectoryError(Kind::damaged, describe() + " is damaged (" + check.text(0) +
                                                "): put back a copy of it, or remove it and register the "
                                                "nodes and regions again");
}

// Of processes that open a new file at the same time, SQLite gives all but one SQLITE_BUSY at once: here it
// does not wait by itself.
void SqliteDirectory::use_log() {
    const auto until = std::chrono::steady_clock::now() + kBusyTimeout;
    for (;;) {
        const int code = sqlite3_exec(database_, "PRAGMA journal_mode = WAL", nullptr, nullptr, nullptr);
        if (code == SQLITE_OK) return;
        if ((code & 0xff) != SQLITE_BUSY || std::chrono::steady_clock::now() > until) fail(code);
        std::this_thread::sleep_for(10ms);
    }
}

void SqliteDirectory::make_tables() {
    const auto number_of = [&](const char* pragma) {
        Statement statement(*this, pragma);
        statement.step();
        return statement.number(0);
    };
    Transaction transaction(*this);
    const uint64_t application = number_of("PRAGMA application_id");
    const uint64_t found = number_of("PRAGMA user_version");
    if (application != 0 || found != 0 || number_of("SELECT count(*) FROM sqlite_schema") != 0) {
        if (application != kApplication)
            throw DirectoryError(Kind::refused, describe() + " is another program's database");
        if (found != kFormat)
            throw DirectoryError(Kind::refused, describe() + " has format " + std::to_string(found) +
                                                    ", this lagan-mgmtd knows format " +
                                                    std::to_string(kFormat));
        return;
    }
    execute(
        "CREATE TABLE entries (key BLOB PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL) "
        "WITHOUT ROWID;"
        "CREATE TABLE counter (revision INTEGER NOT NULL);"
        "INSERT INTO counter VALUES (0);");
    execute(("PRAGMA application_id = " + std::to_string(kApplication)).c_str());
    execute(("PRAGMA user_version = " + std::to_string(kFormat)).c_str());
    transaction.commit();
}

void SqliteDirectory::execute(const char* sql) {
    if (const int code = sqlite3_exec(database_, sql, nullptr, nullptr, nullptr); code != SQLITE_OK)
        fail(code);
}

void SqliteDirectory::fail(int code) const {
    const std::string text =
        describe() + ": " + (database_ != nullptr ? sqlite3_errmsg(database_) : sqlite3_errstr(code));
    switch (code & 0xff) {
        case SQLITE_FULL:
            throw DirectoryError(Kind::no_space, text + ": make room there");
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
            throw DirectoryError(Kind::damaged, text +
                                                    ": put back a copy of it, or remove it and register the "
                                                    "nodes and regions again");
        case SQLITE_PERM:
        case SQLITE_READONLY:
        case SQLITE_CANTOPEN:
        case SQLITE_AUTH:
            throw DirectoryError(Kind::refused,
                                 text + ": look at the permissions of the file and its folder");
        case SQLITE_IOERR:
            // A full disk shows itself so where SQLite extends the log's index by mmap.
            if (sqlite3_system_errno(database_) == ENOSPC || (code & ~0xff) == (SQLITE_IOERR_SHMSIZE & ~0xff))
                throw DirectoryError(Kind::no_space, text + ": make room there");
            [[fallthrough]];
        default:
            throw DirectoryError(Kind::unavailable, text);
    }
}

json SqliteDirectory::parse(const std::string& key, const std::string& text) const {
    try {
        return json::parse(text);
    } catch (const json::exception&) {
        throw DirectoryError(Kind::damaged, describe() + ": what it has of " + key + " is not JSON");
    }
}

std::optional<Entry> SqliteDirectory::get(const std::string& key) {
    const std::lock_guard lock(mutex_);
    Statement select(*this, "SELECT value, revision FROM entries WHERE key = CAST(? AS BLOB)");
    select.bind(1, key);
    if (!select.step()) return std::nullopt;
    return Entry{.key = key, .value = parse(key, select.text(0)), .revision = select.number(1)};
}

std::vector<Entry> SqliteDirectory::list(const std::string& prefix, const std::string& after,
                                         uint64_t limit) {
    const std::lock_guard lock(mutex_);
    const std::string end = end_of(prefix);
    Statement select(*this,
                     "SELECT key, value, revision FROM entries WHERE key >= CAST(?1 AS BLOB) "
                     "AND (?2 = '' OR key < CAST(?2 AS BLOB)) AND key > CAST(?3 AS BLOB) "
                     "ORDER BY key LIMIT CASE ?4 WHEN 0 THEN -1 ELSE ?4 END");
    select.bind(1, prefix);
    select.bind(2, end);
    select.bind(3, after);
    select.bind(4, limit);
    std::vector<Entry> entries;
    while (select.step()) {
        const std::string key = select.text(0);
        entries.push_back({.key = key, .value = parse(key, select.text(1)), .revision = select.number(2)});
    }
    return entries;
}

uint64_t SqliteDirectory::next_revision() {
    execute("UPDATE counter SET revision = revision + 1");
    Statement select(*this, "SELECT revision FROM counter");
    select.step();
    return select.number(0);
}

std::optional<uint64_t> SqliteDirectory::put(const std::string& key, const json& value, uint64_t expected) {
    const std::string text = value.dump();
    const std::lock_guard lock(mutex_);
    Transaction transaction(*this);
    const uint64_t revision = next_revision();
    Statement change(*this, expected == kAbsent
                                ? "INSERT OR IGNORE INTO entries VALUES (CAST(?1 AS BLOB), ?2, ?3)"
                                : "UPDATE entries SET value = ?2, revision = ?3 "
                                  "WHERE key = CAST(?1 AS BLOB) AND revision = ?4");
    change.bind(1, key);
    change.bind(2, text);
    change.bind(3, revision);
    if (expected != kAbsent) change.bind(4, expected);
    change.step();
    if (sqlite3_changes(database_) == 0) return std::nullopt;
    transaction.commit();
    return revision;
}

bool SqliteDirectory::remove(const std::string& key, uint64_t expected) {
    const std::lock_guard lock(mutex_);
    Transaction transaction(*this);
    next_revision();
    Statement change(*this, "DELETE FROM entries WHERE key = CAST(? AS BLOB) AND revision = ?");
    change.bind(1, key);
    change.bind(2, expected);
    change.step();
    if (sqlite3_changes(database_) == 0) return false;
    transaction.commit();
    return true;
}

uint64_t SqliteDirectory::revision() {
    const std::lock_guard lock(mutex_);
    Statement select(*this, "SELECT revision FROM counter");
    select.step();
    return select.number(0);
}

std::string SqliteDirectory::describe() const {
    return "the directory " + file_.string();
}

}  // namespace lagan::cluster
