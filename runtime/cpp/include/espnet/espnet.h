/* The C interface of espnet::runtime, for C and for other languages. No function throws.
 *
 * A function that can fail returns 0 for success, or the code of what went wrong: 2 the input is wrong, 3 hardware, a
 * library or memory is not there, 4 a check failed, 1 a fault of this library. It then writes one line of text with the
 * way out into `error`, which may be NULL.
 *
 * Threads: one thread at a time may use an espnet_network; different ones may be used at once. See network.hpp, whose
 * members these functions call, for what each does.
 *
 * Versions: within a minor version functions are added, and members of espnet_options at its end; the other structs
 * stay as they are.
 */
#ifndef ESPNET_ESPNET_H
#define ESPNET_ESPNET_H

#include <stddef.h>
#include <stdint.h>

#include <espnet/export.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct espnet_network espnet_network;

typedef struct espnet_error {
    int code;
    char message[1020]; /* UTF-8, ends with 0; cut where it would be longer */
} espnet_error;

/* Set by espnet_init_options before any member. */
typedef struct espnet_options {
    size_t size;         /* of this struct in the program, which may be older or newer than the library */
    const char* backend; /* NULL or "auto", "openvino", "tensorrt" */
    int threads;         /* 0: one for each usable core */
    int trust;
    int device;
    int cuda_graphs;
} espnet_options;

typedef enum espnet_dtype {
    ESPNET_FLOAT32 = 0,
    ESPNET_FLOAT16 = 1,
    ESPNET_UINT8 = 2,
    ESPNET_INT32 = 3,
    ESPNET_INT64 = 4
} espnet_dtype;

typedef struct espnet_image {
    const uint8_t* data;
    int height;
    int width;
    ptrdiff_t row_stride; /* bytes; 0: packed */
    int pixel_stride;     /* 3 or 4 */
    int is_bgr;
} espnet_image;

typedef struct espnet_labels {
    uint8_t* data;
    int height;
    int width;
    ptrdiff_t row_stride;
} espnet_labels;

typedef struct espnet_class {
    int class_index;
    float score;
} espnet_class;

typedef struct espnet_box {
    int class_index;
    float score;
    double left, top, right, bottom;
} espnet_box;

typedef struct espnet_tensor {
    const char* name;
    espnet_dtype dtype;
    int rank;
    int64_t shape[8];
    void* data;
    int on_device;
} espnet_tensor;

/* The defaults: espnet_init_options(&options, sizeof options). Members that the library does not know become 0, and
 * espnet_open refuses others there. */
ESPNET_API void espnet_init_options(espnet_options* options, size_t size);
ESPNET_API const char* espnet_version(void);
ESPNET_API const char* espnet_backends(void);

/* `options` may be NULL. `*network` is to be closed; NULL after an error. */
ESPNET_API int espnet_open(const char* path, const espnet_options* options, espnet_network** network,
                           espnet_error* error);
/* The same of a file in memory, which is not needed afterwards. `name` ends as the file's does, in .onnx or .trt. With
 * `trust`, `manifest_size` may be 0: no manifest. */
ESPNET_API int espnet_open_memory(const char* name, const void* bytes, size_t size, const char* manifest,
                                  size_t manifest_size, const espnet_options* options, espnet_network** network,
                                  espnet_error* error);
ESPNET_API int espnet_clone(const espnet_network* network, espnet_network** clone, espnet_error* error);
/* NULL is allowed. */
ESPNET_API void espnet_close(espnet_network* network);

/* What a network is. Texts are UTF-8 and belong to it; they are empty, and numbers 0, where the file was opened without
 * a manifest or `network` is NULL. */
ESPNET_API const char* espnet_name(const espnet_network* network);
ESPNET_API const char* espnet_task(const espnet_network* network);
ESPNET_API const char* espnet_network_name(const espnet_network* network); /* such as "espnetv2_seg" */
ESPNET_API const char* espnet_dataset(const espnet_network* network);
ESPNET_API const char* espnet_precision(const espnet_network* network);
ESPNET_API const char* espnet_manifest(const espnet_network* network); /* JSON */
ESPNET_API const char* espnet_backend(const espnet_network* network);
ESPNET_API int espnet_random_weights(const espnet_network* network); /* not 0: the answers mean nothing */
ESPNET_API int espnet_input_height(const espnet_network* network);
ESPNET_API int espnet_input_width(const espnet_network* network);
ESPNET_API int espnet_smallest_batch(const espnet_network* network);
ESPNET_API int espnet_largest_batch(const espnet_network* network); /* 0: any */

ESPNET_API int espnet_num_classes(const espnet_network* network);
/* NULL: not known. */
ESPNET_API const char* espnet_class_name(const espnet_network* network, int class_index);
/* Red, green and blue: the data set's, or where it gives none or `network` is NULL, the class's own, see image.hpp. */
ESPNET_API void espnet_class_colour(const espnet_network* network, int class_index, uint8_t rgb[3]);
ESPNET_API void espnet_own_colour(int class_index, uint8_t rgb[3]);

/* What espnet_infer takes and gives: the tensors 0 to their number - 1. Name, dtype, rank and shape are filled in, -1
 * where a size is free; `data` becomes NULL. */
ESPNET_API size_t espnet_num_inputs(const espnet_network* network);
ESPNET_API size_t espnet_num_outputs(const espnet_network* network);
ESPNET_API int espnet_input(const espnet_network* network, size_t index, espnet_tensor* tensor, espnet_error* error);
ESPNET_API int espnet_output(const espnet_network* network, size_t index, espnet_tensor* tensor, espnet_error* error);

/* A batch of `count` photos. */
ESPNET_API int espnet_segment(espnet_network* network, const espnet_image* photos, const espnet_labels* labels,
                              size_t count, espnet_error* error);
/* A batch of `count` photos: found[i] is how many answers photo i has, 0 after an error. At most `capacity` of them are
 * written from classes[i * capacity] on, the best first. */
ESPNET_API int espnet_classify(espnet_network* network, const espnet_image* photos, size_t count, espnet_class* classes,
                               size_t capacity, size_t* found, espnet_error* error);
ESPNET_API int espnet_detect(espnet_network* network, const espnet_image* photos, size_t count, espnet_box* boxes,
                             size_t capacity, size_t* found, espnet_error* error);
/* A token for each of `count` texts. `*logits`: count rows of `*words` values, which belong to the network and are
 * valid until its next call; NULL and 0 after an error. */
ESPNET_API int espnet_step(espnet_network* network, const int64_t* tokens, size_t count, const float** logits,
                           size_t* words, espnet_error* error);
ESPNET_API int espnet_reset(espnet_network* network, espnet_error* error);

/* `outputs` may have `data` NULL: then data, dtype and shape of the network's own are filled in. `cuda_stream` NULL:
 * returns when done; else a cudaStream_t, see network.hpp. The default stream is none of them: it is NULL too, and
 * cudaStreamLegacy or cudaStreamPerThread say it. */
ESPNET_API int espnet_infer(espnet_network* network, const espnet_tensor* inputs, size_t num_inputs,
                            espnet_tensor* outputs, size_t num_outputs, void* cuda_stream, espnet_error* error);

/* See network.hpp. `probabilities` may be `logits` itself. */
ESPNET_API int espnet_softmax(const float* logits, size_t count, float* probabilities, espnet_error* error);

/* See image.hpp. Colours are those of espnet_class_colour; `rgb` is 3 x height x width bytes. */
ESPNET_API int espnet_paint_labels(const espnet_network* network, const espnet_image* photo,
                                   const espnet_labels* labels, double opacity, uint8_t* rgb, espnet_error* error);
ESPNET_API int espnet_paint_boxes(const espnet_network* network, const espnet_box* boxes, size_t count, int height,
                                  int width, uint8_t* rgb, espnet_error* error);
ESPNET_API int espnet_upsample_argmax(const float* logits, int classes, int height, int width,
                                      const espnet_labels* labels, espnet_error* error);

#ifdef __cplusplus
}
#endif

#endif
