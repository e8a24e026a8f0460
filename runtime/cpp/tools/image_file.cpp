#include "image_file.hpp"

// jpeglib.h uses FILE and size_t without including them.
#include <cstdio>

#include <jpeglib.h>
#include <png.h>

#include <sys/stat.h>
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csetjmp>
#include <cstring>
#include <fstream>
#include <new>
#include <string_view>
#include <utility>

#include <espnet/error.hpp>

namespace espnet::tools {

namespace {

using Bytes = Span<const std::uint8_t>;

constexpr std::size_t max_file_bytes = std::size_t{1} << 30;
constexpr int max_scans = 500;  // of a progressive JPEG: real ones have about ten, and each costs a whole pass

Error unreadable(const std::string& path, const std::string& reason) {
    return {ErrorCode::input, path + ": not a picture that can be read (" + reason + "); save it again as PNG or JPEG"};
}

std::string_view text_of(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool begins_with(Bytes bytes, std::string_view prefix) {
    return text_of(bytes).substr(0, prefix.size()) == prefix;
}

Bytes part(Bytes bytes, std::size_t from, std::size_t size) {
    from = std::min(from, bytes.size());
    return {bytes.data() + from, std::min(size, bytes.size() - from)};
}

Bytes from(Bytes bytes, std::size_t begin) {
    return part(bytes, begin, bytes.size());
}

/// An RGB photo without its pixels.
Photo blank_photo(std::int64_t height, std::int64_t width, const std::string& path) {
    if (height <= 0 || width <= 0) {
        throw unreadable(path, "no pixels");
    }
    if (height > max_pixels / width) {
        throw Error(ErrorCode::input, path + ": more than " + std::to_string(max_pixels) +
                                          " pixels, the limit for a photo; make it smaller first");
    }
    Photo photo;
    photo.height = static_cast<int>(height);
    photo.width = static_cast<int>(width);
    photo.rgb.resize(3 * static_cast<std::size_t>(height) * static_cast<std::size_t>(width));
    return photo;
}

std::uint8_t* row_of(Photo& photo, int row) {
    return photo.rgb.data() + 3 * static_cast<std::size_t>(row) * static_cast<std::size_t>(photo.width);
}

// Orientation. -------------------------------------------------------------------------------------------------------

/// Numbers of a TIFF structure, in its own byte order; 0 beyond its end.
class TiffNumbers {
public:
    explicit TiffNumbers(Bytes bytes) : bytes_(bytes), big_endian_(begins_with(bytes, "MM")) {}

    std::uint32_t u16(std::size_t at) const { return big_endian_ ? joined(at, at + 1) : joined(at + 1, at); }
    std::uint32_t u32(std::size_t at) const {
        return big_endian_ ? u16(at) << 16 | u16(at + 2) : u16(at + 2) << 16 | u16(at);
    }
    std::size_t size() const { return bytes_.size(); }

private:
    std::uint32_t byte(std::size_t at) const { return at < bytes_.size() ? bytes_[at] : 0; }
    std::uint32_t joined(std::size_t high, std::size_t low) const { return byte(high) << 8 | byte(low); }

    Bytes bytes_;
    bool big_endian_;
};

/// The EXIF tag Orientation; 0 where there is none, or the data are no EXIF. Source: Exif 2.32, 4.6.2 and 4.6.4.
std::uint32_t exif_orientation(Bytes exif) {
    constexpr std::string_view prefix("Exif\0\0", 6);
    while (begins_with(exif, prefix)) {
        exif = from(exif, prefix.size());
    }
    const TiffNumbers numbers(exif);
    if (!(begins_with(exif, "II") || begins_with(exif, "MM")) || numbers.u16(2) != 42) {
        return 0;
    }
    constexpr std::uint32_t orientation_tag = 0x0112;
    constexpr std::size_t entry_bytes = 12;
    std::uint32_t orientation = 0;
    const std::size_t directory = numbers.u32(4);
    const std::size_t entries = numbers.u16(directory);
    for (std::size_t i = 0; i < entries; ++i) {
        const std::size_t entry = directory + 2 + entry_bytes * i;
        if (entry + entry_bytes > numbers.size()) {
            break;
        }
        const std::uint32_t type = numbers.u16(entry + 2);
        const bool is_short = type == 3 || type == 8;
        const bool is_long = type == 4 || type == 9;
        if (numbers.u16(entry) != orientation_tag || !(is_short || is_long)) {
            continue;
        }
        // Of several values, which do not belong there, the first counts.
        const std::uint64_t bytes = (is_short ? 2ULL : 4ULL) * numbers.u32(entry + 4);
        const std::size_t place = bytes <= 4 ? entry + 8 : numbers.u32(entry + 8);
        if (bytes != 0 && bytes <= numbers.size() && place <= numbers.size() - bytes) {
            orientation = is_short ? numbers.u16(place) : numbers.u32(place);
        }
    }
    return orientation;
}

/// The same of XMP, where programs write it that know no EXIF; 0 where there is none.
std::uint32_t xmp_orientation(std::string_view xmp) {
    constexpr std::string_view name = "tiff:Orientation";
    for (std::size_t at = xmp.find(name); at != std::string_view::npos; at = xmp.find(name, at + 1)) {
        std::string_view rest = xmp.substr(at + name.size());
        const std::size_t begin = rest.substr(0, 2) == "=\"" ? 2 : rest.substr(0, 1) == ">" ? 1 : 0;
        if (begin != 0 && begin < rest.size() && rest[begin] >= '0' && rest[begin] <= '9') {
            return static_cast<std::uint32_t>(rest[begin] - '0');
        }
    }
    return 0;
}

/// Where a pixel of the upright photo lies in the stored one, (row, column).
std::pair<int, int> stored_place(std::uint32_t orientation, int row, int column, int height, int width) {
    switch (orientation) {
        case 2:
            return {row, width - 1 - column};
        case 3:
            return {height - 1 - row, width - 1 - column};
        case 4:
            return {height - 1 - row, column};
        case 5:
            return {column, row};
        case 6:
            return {height - 1 - column, row};
        case 7:
            return {height - 1 - column, width - 1 - row};
        case 8:
            return {column, width - 1 - row};
        default:
            return {row, column};
    }
}

Photo upright(Photo stored, std::uint32_t orientation) {
    if (orientation < 2 || orientation > 8) {
        return stored;
    }
    Photo photo;
    const bool turned = orientation >= 5;
    photo.height = turned ? stored.width : stored.height;
    photo.width = turned ? stored.height : stored.width;
    photo.rgb.resize(stored.rgb.size());
    for (int row = 0; row < photo.height; ++row) {
        std::uint8_t* to = row_of(photo, row);
        for (int column = 0; column < photo.width; ++column, to += 3) {
            const auto [y, x] = stored_place(orientation, row, column, stored.height, stored.width);
            std::memcpy(to, row_of(stored, y) + 3 * static_cast<std::size_t>(x), 3);
        }
    }
    return photo;
}

// libpng and libjpeg report errors by a jump. ------------------------------------------------------------------------

/// Where an error of the library jumps to, and what it said.
struct Trap {
    std::jmp_buf jump;
    char reason[JMSG_LENGTH_MAX];

    [[noreturn]] void spring(const char* message) {
        std::snprintf(reason, sizeof reason, "%s", message);
        std::longjmp(jump, 1);
    }
};

/// Calls `step(state)`; false where the library gave up. A jump runs no destructors, so neither `step` nor the
/// callbacks may own anything: memory is taken before, and belongs to the caller.
template <typename State>
bool survives(Trap& trap, void (*step)(State&), State& state) {
    if (setjmp(trap.jump) != 0) {
        return false;
    }
    step(state);
    return true;
}

// PNG. ---------------------------------------------------------------------------------------------------------------

struct PngReader {
    Trap trap{};
    png_structp png = nullptr;
    png_infop info = nullptr;
    const std::uint8_t* next = nullptr;
    std::size_t left = 0;
    std::uint8_t* rgb = nullptr;
    std::size_t row_bytes = 0;

    ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
};

void png_failed(png_structp png, png_const_charp message) {
    static_cast<Trap*>(png_get_error_ptr(png))->spring(message);
}

void png_warned(png_structp /*png*/, png_const_charp /*message*/) {}

void read_png_bytes(png_structp png, png_bytep to, png_size_t size) {
    auto* reader = static_cast<PngReader*>(png_get_io_ptr(png));
    if (size > reader->left) {
        png_error(png, "image file is truncated");
    }
    std::memcpy(to, reader->next, size);
    reader->next += size;
    reader->left -= size;
}

void read_png_header(PngReader& reader) {
    png_set_read_fn(reader.png, &reader, read_png_bytes);
    png_set_user_limits(reader.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // the limit is on pixels, see blank_photo
    png_read_info(reader.png, reader.info);
}

void read_png_rows(PngReader& reader) {
    png_set_palette_to_rgb(reader.png);
    png_set_expand_gray_1_2_4_to_8(reader.png);
    png_set_strip_16(reader.png);
    png_set_strip_alpha(reader.png);
    png_set_gray_to_rgb(reader.png);
    const int passes = png_set_interlace_handling(reader.png);
    png_read_update_info(reader.png, reader.info);
    if (png_get_rowbytes(reader.png, reader.info) != reader.row_bytes) {
        png_error(reader.png, "rows of another length than expected");
    }
    const png_uint_32 height = png_get_image_height(reader.png, reader.info);
    for (int pass = 0; pass < passes; ++pass) {
        for (png_uint_32 row = 0; row < height; ++row) {
            png_read_row(reader.png, reader.rgb + row * reader.row_bytes, nullptr);
        }
    }
}

std::uint32_t png_orientation(Bytes file) {
    constexpr std::string_view xmp_keyword("XML:com.adobe.xmp\0\0", 19);  // with the flag "not compressed"
    constexpr std::size_t signature_bytes = 8;
    constexpr std::size_t frame_bytes = 12;  // length, type, checksum
    std::uint32_t exif = 0;
    std::uint32_t xmp = 0;
    for (Bytes rest = from(file, signature_bytes); rest.size() >= frame_bytes;) {
        const std::size_t size = png_get_uint_32(rest.data());
        const Bytes type = part(rest, 4, 4);
        const Bytes data = part(rest, 8, size);
        if (begins_with(type, "eXIf")) {
            exif = exif_orientation(data);
        } else if (begins_with(type, "iTXt") && begins_with(data, xmp_keyword)) {
            xmp = xmp_orientation(text_of(data));
        }
        rest = from(rest, frame_bytes + size);
    }
    return exif != 0 ? exif : xmp;
}

Photo photo_from_png(Bytes file, const std::string& path) {
    PngReader reader;
    reader.next = file.data();
    reader.left = file.size();
    reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader.trap, png_failed, png_warned);
    reader.info = reader.png == nullptr ? nullptr : png_create_info_struct(reader.png);
    if (reader.info == nullptr) {
        throw std::bad_alloc();
    }
    if (!survives(reader.trap, read_png_header, reader)) {
        throw unreadable(path, reader.trap.reason);
    }
    Photo photo =
        blank_photo(png_get_image_height(reader.png, reader.info), png_get_image_width(reader.png, reader.info), path);
    reader.rgb = photo.rgb.data();
    reader.row_bytes = 3 * static_cast<std::size_t>(photo.width);
    if (!survives(reader.trap, read_png_rows, reader)) {
        throw unreadable(path, reader.trap.reason);
    }
    return upright(std::move(photo), png_orientation(file));
}

// JPEG. --------------------------------------------------------------------------------------------------------------

struct JpegReader {
    Trap trap{};
    jpeg_error_mgr errors{};
    jpeg_progress_mgr progress{};
    jpeg_decompress_struct jpeg{};
    Bytes file;
    std::uint8_t* rgb = nullptr;
    std::uint8_t* cmyk_row = nullptr;

    ~JpegReader() { jpeg_destroy_decompress(&jpeg); }
};

void jpeg_failed(j_common_ptr jpeg) {
    char message[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, message);
    static_cast<JpegReader*>(jpeg->client_data)->trap.spring(message);
}

void jpeg_warned(j_common_ptr /*jpeg*/, int /*level*/) {}

boolean jpeg_is_cut_off(j_decompress_ptr jpeg) {
    static_cast<JpegReader*>(jpeg->client_data)->trap.spring("image file is truncated");
}

void count_scans(j_common_ptr jpeg) {
    if (reinterpret_cast<j_decompress_ptr>(jpeg)->input_scan_number > max_scans) {
        static_cast<JpegReader*>(jpeg->client_data)->trap.spring("too many scans");
    }
}

void read_jpeg_header(JpegReader& reader) {
    constexpr unsigned longest_segment = 0xffff;
    jpeg_create_decompress(&reader.jpeg);
    jpeg_mem_src(&reader.jpeg, const_cast<std::uint8_t*>(reader.file.data()), reader.file.size());
    // libjpeg would go on with a made-up end of the picture.
    reader.jpeg.src->fill_input_buffer = jpeg_is_cut_off;
    reader.progress.progress_monitor = count_scans;
    reader.jpeg.progress = &reader.progress;
    jpeg_save_markers(&reader.jpeg, JPEG_APP0 + 1, longest_segment);
    jpeg_read_header(&reader.jpeg, TRUE);
}

/// Multiplied as parts of 255, rounded.
int times(int a, int b) {
    const int product = a * b + 128;
    return ((product >> 8) + product) >> 8;
}

/// Source: Pillow's conversion of CMYK; files have the four inverted, as Adobe writes them.
void rgb_from_cmyk(const std::uint8_t* inverted, int width, std::uint8_t* rgb) {
    for (int x = 0; x < width; ++x, inverted += 4, rgb += 3) {
        const int light = inverted[3];
        for (int channel = 0; channel < 3; ++channel) {
            rgb[channel] = static_cast<std::uint8_t>(std::max(0, light - times(255 - inverted[channel], light)));
        }
    }
}

void read_jpeg_rows(JpegReader& reader) {
    jpeg_decompress_struct& jpeg = reader.jpeg;
    jpeg.out_color_space = reader.cmyk_row != nullptr ? JCS_CMYK : JCS_RGB;
    jpeg.dct_method = JDCT_ISLOW;
    jpeg.do_fancy_upsampling = TRUE;
    jpeg_start_decompress(&jpeg);
    while (jpeg.output_scanline < jpeg.output_height) {
        std::uint8_t* rgb = reader.rgb + 3 * static_cast<std::size_t>(jpeg.output_width) * jpeg.output_scanline;
        JSAMPROW row = reader.cmyk_row != nullptr ? reader.cmyk_row : rgb;
        jpeg_read_scanlines(&jpeg, &row, 1);
        if (reader.cmyk_row != nullptr) {
            rgb_from_cmyk(reader.cmyk_row, static_cast<int>(jpeg.output_width), rgb);
        }
    }
    jpeg_finish_decompress(&jpeg);
}

std::uint32_t jpeg_orientation(const jpeg_decompress_struct& jpeg) {
    constexpr std::string_view exif_name("Exif\0\0", 6);
    constexpr std::string_view xmp_name("http://ns.adobe.com/xap/1.0/\0", 29);
    std::vector<std::uint8_t> exif;  // one structure, which may go on in further segments
    std::uint32_t xmp = 0;
    for (const auto* marker = jpeg.marker_list; marker != nullptr; marker = marker->next) {
        const Bytes data(marker->data, marker->data_length);
        if (begins_with(data, exif_name)) {
            exif.insert(exif.end(), data.begin() + exif_name.size(), data.end());
        } else if (begins_with(data, xmp_name)) {
            xmp = xmp_orientation(text_of(data));
        }
    }
    const std::uint32_t orientation = exif_orientation(exif);
    return orientation != 0 ? orientation : xmp;
}

Photo photo_from_jpeg(Bytes file, const std::string& path) {
    JpegReader reader;
    reader.file = file;
    reader.jpeg.err = jpeg_std_error(&reader.errors);
    reader.jpeg.client_data = &reader;
    reader.errors.error_exit = jpeg_failed;
    reader.errors.emit_message = jpeg_warned;
    if (!survives(reader.trap, read_jpeg_header, reader)) {
        throw unreadable(path, reader.trap.reason);
    }
    const int components = reader.jpeg.num_components;
    if (components != 1 && components != 3 && components != 4) {
        throw unreadable(path, "cannot handle " + std::to_string(components) + "-layer images");
    }
    Photo photo = blank_photo(reader.jpeg.image_height, reader.jpeg.image_width, path);
    std::vector<std::uint8_t> cmyk_row(components == 4 ? 4 * static_cast<std::size_t>(photo.width) : 0);
    reader.rgb = photo.rgb.data();
    reader.cmyk_row = components == 4 ? cmyk_row.data() : nullptr;
    const std::uint32_t orientation = jpeg_orientation(reader.jpeg);
    if (!survives(reader.trap, read_jpeg_rows, reader)) {
        throw unreadable(path, reader.trap.reason);
    }
    return upright(std::move(photo), orientation);
}

// PGM and PPM. -------------------------------------------------------------------------------------------------------

bool is_space(std::uint8_t byte) {
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

/// The next number of the header, and `at` behind the white space that ends it; comments go from # to the line's end.
std::int64_t header_number(Bytes file, std::size_t& at, const std::string& path) {
    constexpr std::size_t most_digits = 10;
    std::string digits;
    while (at < file.size()) {
        const std::uint8_t byte = file[at++];
        if (byte == '#') {
            while (at < file.size() && file[at] != '\n' && file[at] != '\r') {
                ++at;
            }
            at = std::min(at + 1, file.size());
        } else if (!is_space(byte)) {
            digits += static_cast<char>(byte);
        } else if (!digits.empty()) {
            break;
        }
        if (digits.size() > most_digits) {
            throw unreadable(path, "Token too long in file header");
        }
    }
    if (digits.empty() || digits.find_first_not_of("0123456789") != std::string::npos) {
        throw unreadable(path, digits.empty() ? "Reached EOF while reading header" : "a header without its numbers");
    }
    return std::stoll(digits);
}

/// What every stored value becomes with 8 bits. Grey of more than 8 bits keeps its upper 8, colours are scaled, both as
/// Pillow and runtime/images.py have it.
std::vector<std::uint8_t> levels(std::int64_t maxval, bool is_grey) {
    const bool is_wide = maxval > 255;
    const double highest = is_wide && is_grey ? 65535 : 255;
    std::vector<std::uint8_t> table(is_wide ? 65536 : 256);
    for (std::size_t value = 0; value < table.size(); ++value) {
        // Rounded half to even, the default of the floating-point unit.
        const double scaled = std::nearbyint(static_cast<double>(value) / static_cast<double>(maxval) * highest);
        const auto level = static_cast<unsigned>(std::min(highest, scaled));
        table[value] = static_cast<std::uint8_t>(is_wide && is_grey ? level >> 8 : level);
    }
    return table;
}

Photo photo_from_pnm(Bytes file, const std::string& path) {
    const bool is_grey = file[1] == '5';
    std::size_t at = 3;
    const std::int64_t width = header_number(file, at, path);
    const std::int64_t height = header_number(file, at, path);
    const std::int64_t maxval = header_number(file, at, path);
    if (maxval <= 0 || maxval > 65535) {
        throw unreadable(path, "maxval must be greater than 0 and less than 65536");
    }
    Photo photo = blank_photo(height, width, path);
    const std::vector<std::uint8_t> table = levels(maxval, is_grey);
    const std::size_t value_bytes = maxval > 255 ? 2 : 1;
    const std::size_t values = photo.rgb.size() / (is_grey ? 3 : 1);
    if (file.size() - at < values * value_bytes) {
        throw unreadable(path, "image file is truncated");
    }
    const std::uint8_t* stored = file.data() + at;
    const std::size_t copies = is_grey ? 3 : 1;
    std::uint8_t* to = photo.rgb.data();
    for (std::size_t i = 0; i < values; ++i, stored += value_bytes, to += copies) {
        const unsigned value = value_bytes == 2 ? stored[0] * 256U + stored[1] : stored[0];
        std::fill_n(to, copies, table[value]);
    }
    return photo;
}

// Files. -------------------------------------------------------------------------------------------------------------

std::vector<std::uint8_t> file_bytes(const std::string& path) {
    struct stat found {};
    if (stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode)) {
        throw Error(ErrorCode::input, path + ": is a folder; name the photos in it, such as " + path + "/*.png");
    }
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        if (errno == ENOENT || errno == ENOTDIR) {
            throw Error(ErrorCode::input, path + ": no such file; check the path");
        }
        if (errno == EACCES || errno == EPERM) {
            throw Error(ErrorCode::input, path + ": may not be read; change its permissions or name another photo");
        }
        throw unreadable(path, std::strerror(errno));
    }
    constexpr std::size_t block_bytes = std::size_t{1} << 20;
    std::vector<std::uint8_t> bytes;
    while (file && bytes.size() <= max_file_bytes) {
        const std::size_t size = bytes.size();
        bytes.resize(size + block_bytes);
        file.read(reinterpret_cast<char*>(bytes.data() + size), block_bytes);
        bytes.resize(size + static_cast<std::size_t>(file.gcount()));
    }
    if (file.bad()) {
        throw unreadable(path, std::strerror(errno));
    }
    if (bytes.size() > max_file_bytes) {
        throw unreadable(path, "more than " + std::to_string(max_file_bytes) + " bytes");
    }
    return bytes;
}

// Writing. -----------------------------------------------------------------------------------------------------------

struct PngWriter {
    Trap trap{};
    png_structp png = nullptr;
    png_infop info = nullptr;
    const std::uint8_t* pixels = nullptr;
    png_uint_32 height = 0;
    png_uint_32 width = 0;
    int channels = 0;
    std::vector<std::uint8_t>* file = nullptr;

    ~PngWriter() { png_destroy_write_struct(&png, &info); }
};

bool appended(std::vector<std::uint8_t>& file, const std::uint8_t* data, std::size_t size) noexcept {
    try {
        file.insert(file.end(), data, data + size);
        return true;
    } catch (const std::exception&) {
        return false;
    }
}

void write_png_bytes(png_structp png, png_bytep data, png_size_t size) {
    if (!appended(*static_cast<PngWriter*>(png_get_io_ptr(png))->file, data, size)) {
        png_error(png, "not enough memory");
    }
}

void write_png(PngWriter& writer) {
    png_set_write_fn(writer.png, &writer, write_png_bytes, nullptr);
    png_set_user_limits(writer.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_IHDR(writer.png, writer.info, writer.width, writer.height, 8,
                 writer.channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(writer.png, writer.info);
    const std::size_t row_bytes = static_cast<std::size_t>(writer.channels) * writer.width;
    for (png_uint_32 row = 0; row < writer.height; ++row) {
        png_write_row(writer.png, writer.pixels + row * row_bytes);
    }
    png_write_end(writer.png, writer.info);
}

}  // namespace

Photo photo_from(Bytes file, const std::string& path) {
    if (begins_with(file, "\x89PNG\r\n\x1a\n")) {
        return photo_from_png(file, path);
    }
    if (begins_with(file, "\xff\xd8\xff")) {
        return photo_from_jpeg(file, path);
    }
    if ((begins_with(file, "P5") || begins_with(file, "P6")) && file.size() > 2 && is_space(file[2])) {
        return photo_from_pnm(file, path);
    }
    throw unreadable(path, "unknown format");
}

Photo load_photo(const std::string& path) {
    const std::vector<std::uint8_t> file = file_bytes(path);
    return photo_from(file, path);
}

std::vector<std::uint8_t> png_bytes(const std::uint8_t* pixels, int height, int width, int channels) {
    std::vector<std::uint8_t> file;
    PngWriter writer;
    writer.pixels = pixels;
    writer.height = static_cast<png_uint_32>(height);
    writer.width = static_cast<png_uint_32>(width);
    writer.channels = channels;
    writer.file = &file;
    writer.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &writer.trap, png_failed, png_warned);
    writer.info = writer.png == nullptr ? nullptr : png_create_info_struct(writer.png);
    if (writer.info == nullptr) {
        throw std::bad_alloc();
    }
    if (!survives(writer.trap, write_png, writer)) {
        throw Error(ErrorCode::unavailable, std::string("a picture could not be made: ") + writer.trap.reason +
                                                "; close other programs, or use a smaller photo");
    }
    return file;
}

}  // namespace espnet::tools
