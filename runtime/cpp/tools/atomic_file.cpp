#include "atomic_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include <espnet/error.hpp>

namespace espnet::tools {

namespace fs = std::filesystem;

namespace {

/// The texts of commands.py.
std::string way_out(int number) {
    switch (number) {
        case ENOSPC:
        case EDQUOT:
            return "free some space or choose another disk";
        case EACCES:
        case EPERM:
            return "check its permissions or choose another path";
        case EROFS:
            return "the file system is read-only: choose another path";
        case ENOENT:
            return "check the path";
        case EEXIST:
        case ENOTDIR:
            return "a file is in the way: choose another name";
        case EFBIG:
            return "a limit on file sizes is in the way: raise it (ulimit -f) or choose another disk";
        default:
            return "check the path and the disk";
    }
}

Error failed(const std::string& path, int number, const char* problem = nullptr) {
    return {ErrorCode::input,
            path + ": " + (problem != nullptr ? problem : std::strerror(number)) + "; " + way_out(number)};
}

/// A new file beside `path` that is gone again unless it takes the place of `path`.
class TemporaryFile {
public:
    explicit TemporaryFile(const std::string& path) : path_(path) {
        const fs::path target(path);
        name_ = (target.parent_path() / ("." + target.filename().string() + ".XXXXXX")).string();
        file_ = mkstemp(&name_[0]);
        if (file_ < 0) {
            throw failed(path, errno);
        }
    }

    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;

    ~TemporaryFile() {
        if (file_ >= 0) {
            close(file_);
        }
        if (!name_.empty()) {
            unlink(name_.c_str());
        }
    }

    void write_all(const char* data, std::size_t size) {
        for (std::size_t done = 0; done < size;) {
            const ssize_t written = write(file_, data + done, size - done);
            if (written < 0 && errno != EINTR) {
                throw failed(path_, errno);
            }
            done += static_cast<std::size_t>(written < 0 ? 0 : written);
        }
    }

    void take_its_place() {
        const mode_t mask = umask(0);
        umask(mask);
        if (fchmod(file_, 0666 & ~mask) != 0) {
            throw failed(path_, errno);
        }
        // Some file systems report a full disk only here.
        const int file = file_;
        file_ = -1;
        if (close(file) != 0 || std::rename(name_.c_str(), path_.c_str()) != 0) {
            throw failed(path_, errno);
        }
        name_.clear();
    }

private:
    std::string path_;
    std::string name_;
    int file_ = -1;
};

void replace(const std::string& path, const void* data, std::size_t size) {
    struct stat found {};
    if (stat(path.c_str(), &found) == 0 && !S_ISREG(found.st_mode)) {
        throw failed(path, EEXIST, "is no regular file");
    }
    TemporaryFile file(path);
    file.write_all(static_cast<const char*>(data), size);
    file.take_its_place();
}

}  // namespace

void write_file(const std::string& path, const std::vector<std::uint8_t>& data) {
    replace(path, data.data(), data.size());
}

void write_file(const std::string& path, const std::string& text) {
    replace(path, text.data(), text.size());
}

void make_folders(const std::string& path) {
    std::error_code problem;
    fs::create_directories(path, problem);
    if (problem) {
        throw failed(path, problem.value());
    }
}

void check_output_file(const std::string& option, const std::string& path) {
    const fs::path file(path);
    const fs::path folder = fs::absolute(file).parent_path();
    std::error_code ignored;
    const fs::file_status status = fs::status(file, ignored);
    const bool is_device = fs::exists(status) && !fs::is_directory(status) && !fs::is_regular_file(status);
    if (file.filename() == "-" || is_device) {
        throw Error(ErrorCode::input,
                    option + " " + path + ": results are written to files, and replace what was there; name a file");
    }
    if (fs::is_directory(status) || !fs::is_directory(folder, ignored)) {
        throw Error(ErrorCode::input, option + " " + path + ": name a file in a folder that is there");
    }
    if (access(folder.c_str(), W_OK) != 0) {
        throw Error(ErrorCode::input, option + " " + path + ": its folder cannot be written; choose another");
    }
}

std::string resolved(const std::string& path) {
    std::error_code problem;
    const fs::path whole = fs::weakly_canonical(fs::absolute(path), problem);
    if (problem) {
        throw failed(path, problem.value());
    }
    return whole.string();
}

}  // namespace espnet::tools
