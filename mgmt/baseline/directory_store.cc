// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/directory_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>

#include "mgmt/baseline/file_writer.h"

namespace lagan::baseline {

using memory::FileDescriptor;

namespace {

constexpr const char* kTemporary = ".tmp-";
constexpr int kFolderFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

ErrorKind kind_of(int error) {
    switch (error) {
        case ENOSPC:
        case EDQUOT:
        case EFBIG:
            return ErrorKind::no_space;
        case EACCES:
        case EPERM:
        case EROFS:
        case ELOOP:
        case EOPNOTSUPP:
            return ErrorKind::refused;
        case ENOENT:
        case ENOTDIR:
            return ErrorKind::missing;
        case EEXIST:
        case EINVAL:
        case ENAMETOOLONG:
            return ErrorKind::invalid;
        default:
            return ErrorKind::unavailable;
    }
}

const char* advice(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::no_space:
            return ": make room there, or raise the quota";
        case ErrorKind::refused:
            return ": look at the owner, the mode and the mount options (symbolic links are not followed)";
        case ErrorKind::unavailable:
            return ": look at the disk or the mount";
        default:
            return "";
    }
}

std::string temporary_name() {
    std::random_device random;
    char name[32];
    std::snprintf(name, sizeof name, "%s%08x%08x", kTemporary, random(), random());
    return name;
}

std::string file_of(const std::string& key) {
    return key.substr(key.rfind('/') + 1);
}

}  // namespace

void DirectoryStore::fail(int error, const std::string& what, const std::string& key) const {
    const ErrorKind kind = kind_of(error);
    throw StoreError(kind, "baseline store: " + what + " " + where_ + "/" + key + ": " +
                               std::strerror(error) + advice(kind));
}

DirectoryStore::DirectoryStore(const std::filesystem::path& path, FileCalls& calls)
    : where_(path.string()), calls_(calls) {
    const bool made = mkdir(path.c_str(), 0700) == 0;
    if (!made && errno != EEXIST) fail(errno, "cannot make the directory", "");
    root_ = FileDescriptor(open(path.c_str(), kFolderFlags));
    struct stat info {};
    if (root_.get() < 0 || fstat(root_.get(), &info) != 0) fail(errno, "cannot open the directory", "");
    if ((info.st_mode & S_IWOTH) != 0)
        throw StoreError(ErrorKind::refused, "baseline store: everybody may write to " + where_ +
                                                 ": chmod o-w " + where_ + ", or name another directory");
    if (!made) return;
    const FileDescriptor parent(open((path / "..").c_str(), kFolderFlags));
    if (parent.get() >= 0 && calls_.fsync(parent.get()) == 0) return;
    const int error = errno;
    rmdir(path.c_str());  // see make_folder()
    fail(error, "cannot sync the parent of", "");
}

// Names in a folder that do not begin with a dot (or those that do), sorted.
std::vector<std::string> DirectoryStore::names_in(const FileDescriptor& folder, const std::string& key,
                                                  bool hidden) const {
    std::vector<std::string> names;
    const int fd = openat(folder.get(), ".", kFolderFlags);  // fdopendir takes it over
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(fd < 0 ? nullptr : fdopendir(fd), closedir);
    if (!stream) fail(errno, "cannot list", key);
    errno = 0;
    while (const dirent* entry = readdir(stream.get()))
        if ((entry->d_name[0] == '.') == hidden) names.emplace_back(entry->d_name);
    if (errno != 0) fail(errno, "cannot list", key);
    std::sort(names.begin(), names.end());
    return names;
}

void DirectoryStore::sync(int folder, const std::string& key) {
    if (calls_.fsync(folder) != 0) fail(errno, "cannot sync the folder of", key);
}

// Also syncs the parent, since whoever made the folder may have died before doing so.
void DirectoryStore::make_folder(int parent, const std::string& name, const std::string& path) {
    const std::lock_guard lock(mutex_);
    if (folders_made_.contains(path)) return;
    if (mkdirat(parent, name.c_str(), 0700) != 0 && errno != EEXIST)
        fail(errno, "cannot make the folder", path);
    if (calls_.fsync(parent) != 0) {
        const int error = errno;
        // The folder's entry may be lost now, and a later sync that succeeds would not say so: it is made
        // anew then. One that is not empty was synced before something was put there.
        unlinkat(parent, name.c_str(), AT_REMOVEDIR);
        fail(error, "cannot sync the folder of", path);
    }
    folders_made_.insert(path);
}

FileDescriptor DirectoryStore::open_folder(const std::string& key, bool make) {
    FileDescriptor folder(openat(root_.get(), ".", kFolderFlags));
    if (folder.get() < 0) fail(errno, "cannot open", "");
    size_t begin = 0;
    for (size_t end = key.find('/'); end != key.npos; begin = end + 1, end = key.find('/', begin)) {
        const std::string name = key.substr(begin, end - begin);
        const std::string path = key.substr(0, end);
        if (make) make_folder(folder.get(), name, path);
        FileDescriptor next(openat(folder.get(), name.c_str(), kFolderFlags | O_NOFOLLOW));
        if (next.get() < 0) {
            const int error = errno;
            const std::lock_guard lock(mutex_);
            folders_made_.erase(path);  // somebody has removed it
            fail(error, "cannot open the folder of", key);
        }
        folder = std::move(next);
    }
    return folder;
}

// Creates the file; when that fails there is none.
void DirectoryStore::write(int folder, const std::string& name, const std::string& key,
                           std::span<const Bytes> content) {
    const FileDescriptor file(
        openat(folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (file.get() < 0) fail(errno, "cannot create", key);
    if (const int error = write_file(calls_, file.get(), content); error != 0) {
        unlinkat(folder, name.c_str(), 0);
        fail(error, "cannot write", key);
    }
}

// In place, not under another name first: nobody looks for the object before a manifest names it.
void DirectoryStore::put(const std::string& key, std::span<const Bytes> content) {
    const FileDescriptor folder = open_folder(key, true);
    write(folder.get(), file_of(key), key, content);
    sync(folder.get(), key);
}

bool DirectoryStore::put_exclusive(const std::string& key, Bytes content) {
    const FileDescriptor folder = open_folder(key, true);
    const std::string name = file_of(key);
    const std::string temporary = temporary_name();
    write(folder.get(), temporary, key, {&content, 1});
    const int error = calls_.link(folder.get(), temporary.c_str(), name.c_str()) == 0 ? 0 : errno;
    // NFS may repeat a link that was done, and then says that the name exists.
    struct stat mine {};
    struct stat there {};
    const bool same = fstatat(folder.get(), temporary.c_str(), &mine, AT_SYMLINK_NOFOLLOW) == 0 &&
                      fstatat(folder.get(), name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
                      mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
    unlinkat(folder.get(), temporary.c_str(), 0);
    if (error != 0 && error != EEXIST) fail(error, "cannot link (the file system must have hard links)", key);
    sync(folder.get(), key);
    return error == 0 || same;
}

FileDescriptor DirectoryStore::open_object(const std::string& key) {
    const FileDescriptor folder = open_folder(key, false);
    FileDescriptor file(
        openat(folder.get(), file_of(key).c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (file.get() < 0) fail(errno, "cannot open", key);
    return file;
}

void DirectoryStore::get(const std::string& key, uint64_t offset, std::span<std::byte> to) {
    const FileDescriptor file = open_object(key);
    while (!to.empty()) {
        const ssize_t bytes = calls_.pread(file.get(), to.data(), to.size(), static_cast<off_t>(offset));
        if (bytes < 0 && errno == EINTR) continue;
        if (bytes < 0 && errno != EIO) fail(errno, "cannot read", key);
        if (bytes <= 0)
            throw StoreError(ErrorKind::damaged,
                             "baseline store: " + where_ + "/" + key +
                                 (bytes == 0 ? " is too short" : " cannot be read: I/O error"));
        offset += static_cast<uint64_t>(bytes);
        to = to.subspan(static_cast<size_t>(bytes));
    }
}

uint64_t DirectoryStore::size_bytes(const std::string& key) {
    const FileDescriptor file = open_object(key);
    struct stat info {};
    if (fstat(file.get(), &info) != 0) fail(errno, "cannot stat", key);
    return static_cast<uint64_t>(info.st_size);
}

std::vector<std::string> DirectoryStore::list(const std::string& prefix) {
    const std::string folder = prefix.substr(0, prefix.rfind('/') + 1);
    std::vector<std::string> keys;
    try {
        for (const std::string& name : names_in(open_folder(folder, false), folder, false))
            if ((folder + name).starts_with(prefix)) keys.push_back(folder + name);
    } catch (const StoreError& error) {
        if (error.kind() != ErrorKind::missing) throw;
    }
    return keys;
}

std::vector<std::string> DirectoryStore::folders() {
    std::vector<std::string> names = names_in(root_, "", false);
    std::erase_if(names, [&](const std::string& name) {
        struct stat info {};
        return fstatat(root_.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(info.st_mode);
    });
    return names;
}

void DirectoryStore::remove(const std::string& key) {
    try {
        const FileDescriptor folder = open_folder(key, false);
        if (unlinkat(folder.get(), file_of(key).c_str(), 0) != 0) fail(errno, "cannot remove", key);
    } catch (const StoreError& error) {
        if (error.kind() != ErrorKind::missing) throw;
    }
}

void DirectoryStore::remove_unfinished(const std::string& folder, std::chrono::seconds age) {
    try {
        const FileDescriptor fd = open_folder(folder, false);
        const time_t before = time(nullptr) - age.count();
        for (const std::string& name : names_in(fd, folder, true)) {
            struct stat info {};
            if (name.starts_with(kTemporary) &&
                fstatat(fd.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 && info.st_mtime <= before)
                unlinkat(fd.get(), name.c_str(), 0);
        }
    } catch (const StoreError& error) {
        if (error.kind() != ErrorKind::missing) throw;
    }
}

}  // namespace lagan::baseline
