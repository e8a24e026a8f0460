/* classify_c cls.onnx: the classes of a grey picture, through the C interface. */
#include <stdio.h>
#include <string.h>

#include <espnet/espnet.h>

int main(int count, char** arguments) {
    enum { side = 64, capacity = 8 };
    static uint8_t pixels[side * side * 3];
    espnet_error error;
    espnet_network* network = NULL;
    espnet_class classes[capacity];
    size_t found = 0;
    int code;

    if (count != 2) {
        fprintf(stderr, "usage: %s cls.onnx\n", arguments[0]);
        return 2;
    }
    memset(pixels, 128, sizeof pixels);
    const espnet_image photo = {pixels, side, side, 0, 3, 0};

    code = espnet_open(arguments[1], NULL, &network, &error);
    if (code == 0) {
        code = espnet_classify(network, &photo, 1, classes, capacity, &found, &error);
    }
    if (code != 0) {
        fprintf(stderr, "%s\n", error.message);
    }
    for (size_t index = 0; index < found && index < capacity; ++index) {
        const char* name = espnet_class_name(network, classes[index].class_index);
        printf("%6.2f %%  class %d %s\n", 100.0 * classes[index].score, classes[index].class_index, name ? name : "");
    }
    espnet_close(network);
    return code;
}
