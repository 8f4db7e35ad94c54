typedef int layer_io_is_empty;
