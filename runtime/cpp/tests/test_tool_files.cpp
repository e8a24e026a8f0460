// What the tools read and write: pictures of each kind, cut off anywhere; files that appear whole; texts and options.
// Pixels of all kinds of files are compared with Python's in tests/runtime/cpp/test_infer_tool.py.

#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <jpeglib.h>

#include <espnet/error.hpp>

#include "arguments.hpp"
#include "atomic_file.hpp"
#include "image_file.hpp"
#include "infer_names.hpp"
#include "text.hpp"

namespace fs = std::filesystem;
using namespace espnet;
using namespace espnet::tools;

namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr int height = 19;
constexpr int width = 23;

/// A folder of its own that is gone afterwards.
struct Folder {
    fs::path path;

    Folder() {
        std::string name = (fs::temp_directory_path() / "espnet-tool-XXXXXX").string();
        REQUIRE(mkdtemp(&name[0]) != nullptr);
        path = name;
    }
    ~Folder() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
    std::string file(const char* name) const { return (path / name).string(); }
};

Bytes pixels(int channels) {
    Bytes values(static_cast<std::size_t>(height * width * channels));
    std::uint32_t state = 1;
    for (std::uint8_t& value : values) {
        state = state * 1664525U + 1013904223U;
        value = static_cast<std::uint8_t>(state >> 24);
    }
    return values;
}

/// What `class_names` says of a file; nothing if it takes it.
std::string names_refusal(const std::string& path) {
    try {
        class_names(path, 3);
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

std::string message_of(const Bytes& file) {
    try {
        photo_from(file, "a.png");
    } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::input);
        return error.what();
    }
    return "";
}

Bytes jpeg_bytes(bool progressive) {
    jpeg_compress_struct jpeg;
    jpeg_error_mgr errors;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    unsigned char* buffer = nullptr;
    unsigned long size = 0;
    jpeg_mem_dest(&jpeg, &buffer, &size);
    jpeg.image_width = width;
    jpeg.image_height = height;
    jpeg.input_components = 3;
    jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&jpeg);
    if (progressive) {
        jpeg_simple_progression(&jpeg);
    }
    jpeg_start_compress(&jpeg, TRUE);
    Bytes rgb = pixels(3);
    for (int row = 0; row < height; ++row) {
        JSAMPROW place = rgb.data() + static_cast<std::ptrdiff_t>(row) * 3 * width;
        jpeg_write_scanlines(&jpeg, &place, 1);
    }
    jpeg_finish_compress(&jpeg);
    Bytes file(buffer, buffer + size);
    jpeg_destroy_compress(&jpeg);
    std::free(buffer);
    return file;
}

Bytes ppm_bytes() {
    const std::string header = "P6\n23 19\n255\n";
    Bytes file(header.begin(), header.end());
    const Bytes rgb = pixels(3);
    file.insert(file.end(), rgb.begin(), rgb.end());
    return file;
}

std::string contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

Bytes bytes_of(const std::string& text) {
    return {text.begin(), text.end()};
}

}  // namespace

TEST_CASE("a PNG file that was written is read back") {
    for (const int channels : {1, 3}) {
        const Bytes written = pixels(channels);
        const Bytes file = png_bytes(written.data(), height, width, channels);
        const Photo photo = photo_from(file, "a.png");
        REQUIRE(photo.height == height);
        REQUIRE(photo.width == width);
        for (std::size_t i = 0; i < photo.rgb.size(); ++i) {
            REQUIRE(photo.rgb[i] == written[channels == 3 ? i : i / 3]);
        }
    }
}

TEST_CASE("a file that is cut off anywhere is refused in one line") {
    const Bytes rgb = pixels(3);
    for (const Bytes& file :
         {png_bytes(rgb.data(), height, width, 3), jpeg_bytes(false), jpeg_bytes(true), ppm_bytes()}) {
        CHECK(message_of(file) == "");
        // Behind the pixels of a PNG file comes its end, of 12 bytes, without which they are all there.
        const std::size_t needed = file[0] == 0x89 ? file.size() - 12 : file.size();
        for (std::size_t size = 0; size < needed; ++size) {
            const std::string message = message_of(Bytes(file.begin(), file.begin() + static_cast<long>(size)));
            REQUIRE(message.find("a.png: not a picture that can be read (") == 0);
            REQUIRE(message.find("); save it again as PNG or JPEG") != std::string::npos);
        }
    }
}

TEST_CASE("any changed byte gives a picture or an error") {
    const Bytes rgb = pixels(3);
    for (Bytes file : {png_bytes(rgb.data(), height, width, 3), jpeg_bytes(false), jpeg_bytes(true), ppm_bytes()}) {
        for (std::size_t i = 0; i < file.size(); ++i) {
            for (const int change : {0x01, 0x80, 0xff}) {
                file[i] = static_cast<std::uint8_t>(file[i] ^ change);
                CHECK_NOTHROW(message_of(file));
                file[i] = static_cast<std::uint8_t>(file[i] ^ change);
            }
        }
    }
}

TEST_CASE("more pixels than the limit are refused before they are unpacked") {
    const std::string limit = "a.png: more than 89478485 pixels, the limit for a photo; make it smaller first";
    CHECK(message_of(bytes_of("P6 60000 60000 255 ")) == limit);
    CHECK(message_of(bytes_of("P5 1 89478486 255 ")) == limit);
    CHECK(message_of(bytes_of("P5 1 89478485 255 ")).find("truncated") != std::string::npos);
    Bytes png = png_bytes(pixels(1).data(), height, width, 1);
    std::copy_n("\0\0\xea\x60\0\0\xea\x60", 8, png.begin() + 16);
    // The checksum of the changed header.
    std::copy_n("\xa5\xb9\x2a\x9e", 4, png.begin() + 29);
    CHECK(message_of(png) == limit);
    Bytes jpeg = jpeg_bytes(false);
    const std::uint8_t frame[] = {0xff, 0xc0};
    const auto at = std::search(jpeg.begin(), jpeg.end(), std::begin(frame), std::end(frame));
    REQUIRE(at != jpeg.end());
    std::copy_n("\xea\x60\xea\x60", 4, at + 5);
    CHECK(message_of(jpeg) == limit);
}

TEST_CASE("headers of PPM files are bounded") {
    CHECK(message_of(bytes_of("P6")).find("unknown format") != std::string::npos);
    CHECK(message_of(bytes_of("P6 1")).find("EOF") != std::string::npos);
    CHECK(message_of(bytes_of("P6 12345678901 1 255 x")).find("too long") != std::string::npos);
    CHECK(message_of(bytes_of("P6 -1 1 255 x")).find("numbers") != std::string::npos);
    CHECK(message_of(bytes_of("P6 0 1 255 x")).find("no pixels") != std::string::npos);
    CHECK(message_of(bytes_of("P6 1 1 0 xyz")).find("maxval") != std::string::npos);
    CHECK(message_of(bytes_of("P6 1 1 65536 xyz")).find("maxval") != std::string::npos);
    CHECK(message_of(bytes_of("P6 1 1 #")).find("EOF") != std::string::npos);
}

TEST_CASE("files that are no pictures") {
    const Folder folder;
    CHECK_THROWS_WITH_AS(load_photo(folder.file("none.png")),
                         (folder.file("none.png") + ": no such file; check the path").c_str(), Error);
    CHECK_THROWS_WITH_AS(
        load_photo(folder.path.string()),
        (folder.path.string() + ": is a folder; name the photos in it, such as " + folder.file("*.png")).c_str(),
        Error);
    CHECK(message_of({}).find("(unknown format)") != std::string::npos);
    CHECK(message_of(bytes_of("GIF89a")).find("(unknown format)") != std::string::npos);
}

TEST_CASE("a file is replaced whole, or stays as it was") {
    const Folder folder;
    const std::string path = folder.file("a.json");
    write_file(path, std::string("old"));
    write_file(path, Bytes{'n', 'e', 'w'});
    CHECK(contents(path) == "new");
    CHECK(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()) == 1);
    const mode_t mask = umask(0);
    umask(mask);
    CHECK(static_cast<unsigned>(fs::status(path).permissions()) == (0666U & ~mask));

    CHECK_THROWS_WITH_AS(
        write_file(folder.path.string(), std::string("x")),
        (folder.path.string() + ": is no regular file; a file is in the way: choose another name").c_str(), Error);
    CHECK_THROWS_WITH_AS(write_file(folder.file("none/a"), std::string("x")),
                         (folder.file("none/a") + ": No such file or directory; check the path").c_str(), Error);
    CHECK_THROWS_WITH_AS(make_folders(path + "/b"),
                         (path + "/b: Not a directory; a file is in the way: choose another name").c_str(), Error);
    make_folders(folder.file("x/y"));
    CHECK(fs::is_directory(folder.path / "x" / "y"));
}

TEST_CASE("two names of one file are told") {
    const Folder folder;
    write_file(folder.file("a"), std::string("a"));
    fs::create_symlink(folder.file("a"), folder.file("link"));
    CHECK(resolved(folder.file("link")) == resolved(folder.file("a")));
    CHECK(resolved(folder.file("none/../a")) == resolved(folder.file("a")));
    CHECK(resolved(folder.file("b")) != resolved(folder.file("a")));
}

TEST_CASE("text is written as Python writes it") {
    CHECK(number_text(1.5) == "1.5");
    CHECK(number_text(2) == "2.0");
    CHECK(number_text(100) == "100.0");
    CHECK(number_text(-0.1) == "-0.1");
    CHECK(number_text(1e-5) == "1e-05");
    CHECK(number_text(1e16) == "1e+16");
    CHECK(number_text(0.1 + 0.2) == "0.30000000000000004");
    CHECK(number_text(std::numeric_limits<double>::quiet_NaN()) == "nan");
    CHECK(tidy_path("a//./b/") == "a/b");
    CHECK(tidy_path("./a/../b") == "a/../b");
    CHECK(tidy_path("/") == "/");
    CHECK(tidy_path("") == ".");
    CHECK(one_line(" a\n\tb \x1b[31m \xc3\xa4 \xe2\x80\xae \xff ") == "a b \\x1b[31m \xc3\xa4 \\u202e \\xff");
    CHECK(quoted("it's \\ a\x1b\t") == "\"it's \\\\ a\\x1b\\t\"");
    CHECK(quoted("it's \"") == "'it\\'s \"'");
    CHECK(printable_name("a\x1b b\xc3\xa4\n") == "a b\xc3\xa4");
    CHECK(characters("\xc3\xa4"
                     "b\xff") == 3);
    CHECK(padded("\xc3\xa4", 3) == "\xc3\xa4  ");
    CHECK(first_characters("\xc3\xa4\xc3\xb6", 1) == "\xc3\xa4");
    CHECK(utf8_problem("a\xc3\xa4") == std::string::npos);
    CHECK(utf8_problem("a\xc3") == 1);
    CHECK(utf8_problem("a\xe0\x80\x80") == 1);  // longer than it must be
    CHECK(utf8_problem("\xed\xa0\x80") == 0);   // half a pair
}

TEST_CASE("class names come from lines, a list or an object") {
    const Folder folder;
    const std::string path = folder.file("names");
    for (const char* text : {"a\n b \r\nc\n\n",
                             "\xef\xbb\xbf"
                             "a\rb\rc",
                             "[\"a\", \"b\", \"c\"]", " {\"2\": \"c\", \"0\": \"a\", \"1\": \"b\"}"}) {
        write_file(path, std::string(text));
        CHECK(class_names(path, 3) == std::vector<std::string>{"a", "b", "c"});
    }
    const std::pair<const char*, const char*> mistakes[] = {
        {"a\nb", "2 names, the network has 3 classes; give one name for each"},
        {"a\n\nc", "the name of class 1 is empty; give one name for each"},
        {"[\"a\", 1, \"c\"]", "a name that is not a text; --labels takes"},
        {"[\"a\"", "not valid JSON ("},
        {"{\"0\": \"a\", \"1\": \"b\", \"3\": \"c\"}", "3 names, but none for class 2; number them from 0 on"},
        {"a\n\xff\nc", "not UTF-8 text at byte 2; save it as UTF-8"},
    };
    for (const auto& [text, message] : mistakes) {
        write_file(path, std::string(text));
        CHECK(names_refusal(path).find(message) != std::string::npos);
    }
    write_file(path, std::string((1 << 20) + 1, 'a'));
    CHECK(names_refusal(path).find("a file of class names has at most 1048576") != std::string::npos);
    CHECK(names_refusal(folder.file("none")).find("no such file") != std::string::npos);
}

TEST_CASE("options are read, and mistakes in them are one line") {
    const Option options[] = {{"--out", "DIR", ""}, {"--number", "N", ""}, {"--flag", nullptr, ""}};
    const auto arguments = [&](std::vector<const char*> words) {
        words.insert(words.begin(), "tool");
        return Arguments("tool", static_cast<int>(words.size()), words.data(), options);
    };
    const Arguments given = arguments({"a", "--out", "x", "--number=-3", "--flag", "-", "--out", "y", "--", "--b"});
    CHECK(given.required("--out") == "y");
    CHECK(given.texts("--out") == std::vector<std::string>{"x", "y"});
    CHECK(given.integer("--number") == -3);
    CHECK(given.number("--number") == -3.0);
    CHECK(given.has("--flag"));
    CHECK(given.positional() == std::vector<std::string>{"a", "-", "--b"});
    CHECK(arguments({"--nonsense", "--help"}).has("--help"));
    CHECK_THROWS_WITH_AS(arguments({"--nonsense"}), "No such option: --nonsense (see tool --help)", Error);
    CHECK_THROWS_WITH_AS(arguments({"--out"}), "Option '--out' requires an argument. (see tool --help)", Error);
    CHECK_THROWS_WITH_AS(arguments({"--flag=1"}), "Option '--flag' does not take a value. (see tool --help)", Error);
    CHECK_THROWS_WITH_AS(arguments({}).required("--out"), "Missing option '--out'. (see tool --help)", Error);
    CHECK_THROWS_AS(arguments({"--number", "3x"}).integer("--number"), Error);
    CHECK_THROWS_AS(arguments({"--number", "99999999999999999999"}).integer("--number"), Error);
    CHECK_THROWS_AS(arguments({"--number", ""}).number("--number"), Error);
    CHECK(arguments({}).choice("--out", {"a", "b"}) == "a");
    CHECK_THROWS_WITH_AS(arguments({"--out", "c"}).choice("--out", {"a", "b"}),
                         "Invalid value for '--out': Value error, 'c' is not one of 'a', 'b'. (see tool --help)",
                         Error);
}
