// Which sources this library was built from: ../compile.py looks for it in the file.
extern "C" {
__attribute__((visibility("default"))) char hydrarec_stamp[] = HYDRAREC_STAMP;
}
