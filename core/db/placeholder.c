typedef int layer_db_is_empty;
