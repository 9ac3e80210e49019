// Frames from files that need no image library: binary PPM pictures (P6) of the engine's
// frame size, and raw files of uint8 [N, height, width, 3].
#ifndef FRAMES_HPP
#define FRAMES_HPP

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <istream>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

struct Frames {
    std::vector<std::uint8_t> pixels; // [count, height, width, 3], RGB
    std::size_t count = 0;
};

// A number of a PPM header; white space and comments stand before it.
inline std::size_t read_header_number(std::istream &file, const std::string &path)
{
    while (file >> std::ws && file.peek() == '#')
        file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    std::size_t number = 0;
    if (!(file >> number))
        throw std::runtime_error(path + " has a damaged PPM header");
    return number;
}

// Read one file. Throws std::runtime_error that names it where it does not fit.
inline Frames read_frames(const std::string &path, std::size_t height, std::size_t width)
{
    std::ifstream file(path, std::ios::binary);
    if (!file)
        throw std::runtime_error(path + " cannot be opened");
    const std::size_t frame_bytes = height * width * 3;
    const std::string size = std::to_string(width) + " x " + std::to_string(height);
    Frames frames;
    if (char magic[2]{}; file.read(magic, 2) && magic[0] == 'P' && magic[1] == '6') {
        const std::size_t columns = read_header_number(file, path);
        const std::size_t rows = read_header_number(file, path);
        const std::size_t brightest = read_header_number(file, path);
        file.get(); // exactly one white space, then the pixels
        if (columns != width || rows != height || brightest != 255)
            throw std::runtime_error(path + " is " + std::to_string(columns) + " x " +
                                     std::to_string(rows) + " with values to " +
                                     std::to_string(brightest) + ": the engine takes " + size +
                                     " with values to 255");
        frames.pixels.resize(frame_bytes);
        file.read(reinterpret_cast<char *>(frames.pixels.data()),
                  static_cast<std::streamsize>(frame_bytes));
        if (static_cast<std::size_t>(file.gcount()) != frame_bytes)
            throw std::runtime_error(path + " ends before its last pixel");
    } else {
        file.clear();
        file.seekg(0, std::ios::end);
        const std::streamoff bytes = file.tellg();
        if (bytes <= 0 || static_cast<std::size_t>(bytes) % frame_bytes != 0)
            throw std::runtime_error(path + " has " + std::to_string(bytes) +
                                     " bytes and is no PPM: raw RGB frames of " + size + " have " +
                                     std::to_string(frame_bytes) + " each");
        frames.pixels.resize(static_cast<std::size_t>(bytes));
        file.seekg(0);
        if (!file.read(reinterpret_cast<char *>(frames.pixels.data()), bytes))
            throw std::runtime_error(path + " cannot be read");
    }
    frames.count = frames.pixels.size() / frame_bytes;
    return frames;
}

#endif
