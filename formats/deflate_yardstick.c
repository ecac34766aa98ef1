// HDF5's own filters as a yardstick; see deflate_yardstick.h.
#include "formats/deflate_yardstick.h"

#include "formats/h5.h"
#include "kernels/attention.h"

enum { EDGE = HW_MAP_TILE, LEVEL = 1 };

static hid_t create_dataset(hid_t file, size_t n_tiles) {
    hsize_t dims[3] = {n_tiles, EDGE, EDGE};
    hsize_t chunk[3] = {1, EDGE, EDGE};
    hid_t space = H5Screate_simple(3, dims, NULL);
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    hid_t dataset = -1;
    if (H5Pset_chunk(creation, 3, chunk) >= 0 && H5Pset_shuffle(creation) >= 0 &&
        H5Pset_deflate(creation, LEVEL) >= 0) {
        dataset = H5Dcreate2(file, "tiles", hw_h5_type(HW_ELEMENT_F2), space, H5P_DEFAULT, creation,
                             H5P_DEFAULT);
    }
    hw_h5_close(&creation);
    hw_h5_close(&space);
    return dataset;
}

static herr_t write_tiles(hid_t dataset, const uint16_t *tiles, size_t n_tiles) {
    hsize_t count[3] = {1, EDGE, EDGE};
    hid_t memory = H5Screate_simple(3, count, NULL);
    hid_t space = H5Dget_space(dataset);
    herr_t e = 0;
    for (size_t i = 0; i < n_tiles && e >= 0; i++) {
        hsize_t start[3] = {i, 0, 0};
        e = H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
        if (e >= 0) {
            e = H5Dwrite(dataset, hw_h5_type(HW_ELEMENT_F2), memory, space, H5P_DEFAULT,
                         tiles + i * EDGE * EDGE);
        }
    }
    hw_h5_close(&space);
    hw_h5_close(&memory);
    return e;
}

enum hw_status hw_deflate_yardstick(const uint16_t *tiles, size_t n_tiles, uint64_t *ret_bytes,
                                    struct hw_error *err) {
    hid_t file = -1;
    enum hw_status status = hw_h5_create(NULL, &file, err);
    if (status != HW_OK) {
        return status;
    }
    hid_t dataset = create_dataset(file, n_tiles);
    if (dataset < 0 || write_tiles(dataset, tiles, n_tiles) < 0 ||
        H5Fflush(file, H5F_SCOPE_LOCAL) < 0) {
        status = hw_h5_fail(err, HW_INTERNAL, "tiles cannot be written with HDF5's filters");
    } else {
        *ret_bytes = H5Dget_storage_size(dataset);
    }
    hw_h5_close(&dataset);
    hw_h5_close(&file);
    return status;
}
