/* driver-s3: objects of an S3 store, for other plugins (storage.s3@1). */
#include "driver.h"

#define T struct s3_config

/* clang-format off */
static const ath_field fields[] = {
    ATH_STR(T, bucket, "bucket", "", NULL, "Bucket of the backups; empty: there are no backups to S3.", .alias = "backup.s3_bucket"),
    ATH_STR(T, region, "region", "us-east-1", NULL, "Region of the bucket.", .alias = "backup.s3_region"),
    ATH_STR(T, prefix, "prefix", "backups", NULL, "What the keys of all backups begin with.", .alias = "backup.s3_prefix"),
    ATH_STR(T, endpoint, "endpoint", "", NULL, "Address of a store that is not Amazon's: https://host:port.", .alias = "backup.s3_endpoint"),
    ATH_STR(T, access_key, "access_key", "", NULL, "Access key; without it and its secret key those of the machine are looked for, as Amazon's own tools do.",
            .alias = "backup.s3_access_key", .flags = ATH_CF_SECRET),
    ATH_STR(T, secret_key, "secret_key", "", NULL, "Its secret key.", .alias = "backup.s3_secret_key", .flags = ATH_CF_SECRET),
    ATH_STR(T, addressing, "addressing", "auto", "auto|path|virtual",
            "Where the bucket stands: in the path, or in front of the host's name; auto: in the path when there is an endpoint.", .alias = "backup.s3_addressing"),
    ATH_BYTES(T, part_bytes, "part_size", "8m", "5m..1g", "Size of the first thousand parts of an upload; it is doubled each thousand.", .alias = "backup.s3_part_size"),
    ATH_MSEC(T, stall_ms, "stall_timeout", "60s", "1s..1h", "How long a transfer may stand still before it is begun again.", .alias = "backup.s3_stall_timeout"),
    ATH_INT(T, tries, "tries", "8", "1..50", "How often one request is tried.", .alias = "backup.s3_tries"),
    ATH_MSEC(T, retry_ms, "retry_delay", "200ms", "1ms..1m", "Delay before the second try, about; it doubles from try to try.", .alias = "backup.s3_retry_delay"),
    ATH_MSEC(T, retry_most_ms, "retry_most", "20s", "10ms..10m", "Longest of these delays.", .alias = "backup.s3_retry_most"),
    ATH_BOOL(T, unsigned_payload, "unsigned_payload", "false",
             "Over TLS, leave what is uploaded out of the signature: less work, and a checksum still tells what arrives wrong.", .alias = "backup.s3_unsigned_payload"),
    ATH_STR(T, aws_access_key, "aws_access_key_id", "", NULL, "Access key, when none of ours is set.", .alias = "$AWS_ACCESS_KEY_ID", .flags = ATH_CF_SECRET),
    ATH_STR(T, aws_secret_key, "aws_secret_access_key", "", NULL, "Its secret key.", .alias = "$AWS_SECRET_ACCESS_KEY", .flags = ATH_CF_SECRET),
    ATH_STR(T, aws_token, "aws_session_token", "", NULL, "What keys that are lent come with.", .alias = "$AWS_SESSION_TOKEN", .flags = ATH_CF_SECRET),
    ATH_STR(T, aws_profile, "aws_profile", "default", NULL, "Section of the file of keys.", .alias = "$AWS_PROFILE"),
    ATH_STR(T, aws_file, "aws_shared_credentials_file", "", NULL, "File of keys; empty: ~/.aws/credentials.", .alias = "$AWS_SHARED_CREDENTIALS_FILE"),
    ATH_STR(T, container_uri, "container_credentials_uri", "", NULL, "Where a container asks for keys.", .alias = "$AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ATH_STR(T, container_path, "container_credentials_path", "", NULL, "The same as a path at http://169.254.170.2.", .alias = "$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    ATH_STR(T, container_token, "container_token", "", NULL, "What it says then.", .alias = "$AWS_CONTAINER_AUTHORIZATION_TOKEN", .flags = ATH_CF_SECRET),
    ATH_STR(T, container_token_file, "container_token_file", "", NULL, "A file that holds it.", .alias = "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
    ATH_STR(T, metadata, "metadata_endpoint", "http://169.254.169.254", NULL, "Where a machine asks for the keys of its role.", .alias = "$AWS_EC2_METADATA_SERVICE_ENDPOINT"),
    ATH_BOOL(T, metadata_off, "metadata_disabled", "false", "Whether it never does.", .alias = "$AWS_EC2_METADATA_DISABLED"),
};

static const ath_metric metrics[] = {
    [S3_REQUESTS] = { .name = "athena_s3_requests_total", .label = "operation,outcome", .kind = ATH_M_COUNTER, .series = 200,
                      .help = "Requests to the object store, by operation and by what they ended with, tries included." },
    [S3_RETRIES] = { .name = "athena_s3_retries_total", .label = "operation", .kind = ATH_M_COUNTER, .series = 32,
                     .help = "Requests to the object store that were tried again." },
    [S3_BYTES] = { .name = "athena_s3_bytes_total", .label = "direction", .kind = ATH_M_COUNTER, .series = 2,
                   .help = "Bytes of objects that were sent and received." },
    [S3_SECONDS] = { .name = "athena_s3_request_seconds", .label = "operation", .kind = ATH_M_HISTOGRAM, .series = 32,
                     .help = "How long one request to the object store took, until its answer began if that is a stream." },
};
/* clang-format on */

struct s3 s3;

int s3_need_on(ath_err *e)
{
    if (s3.place.bucket.n)
        return 0;
    return ath_raise(
        e, "s3_not_configured",
        "Configure backup.s3_bucket (and related fields) in config.yaml to enable backups.");
}

static void config(ath_s3_config *ret)
{
    ath_s3_config full = { .size = ret->size,
                           .on = s3.place.bucket.n > 0,
                           .bucket = s3.place.bucket,
                           .region = s3.place.region,
                           .prefix = s3.place.prefix,
                           .endpoint = s3.place.endpoint };

    memcpy(ret, &full, ret->size < sizeof(full) ? ret->size : sizeof(full));
}

static const ath_s3 service = {
    .size = sizeof(service),
    .config = config,
    .put = s3_put,
    .get = s3_get,
    .head = s3_head,
    .remove = s3_remove,
    .list = s3_list,
    .uploads = s3_uploads,
    .abort = s3_abort,
    .presign = s3_presign,
};
static const ath_driver driver = {
    ATH_CAP(ath_driver, ATH_CAP_DRIVER, "storage.s3"),
    .version = 1,
    .vtable = &service,
};
static const ath_cap *const caps[] = { &driver.cap, NULL };

static int check(const void *config, ath_err *e)
{
    struct buf keep = BUF_HEAP;
    struct place place;
    int rc = place_read(config, &keep, &place, e);

    buf_free(&keep);
    return rc;
}

/* Keys of ours win; those of the environment are one set, too, never mixed with them. */
static void find_keys(const struct s3_config *cfg)
{
    if (cfg->access_key.n && cfg->secret_key.n) {
        s3.access = cfg->access_key;
        s3.secret = cfg->secret_key;
    } else if (cfg->aws_access_key.n && cfg->aws_secret_key.n) {
        s3.access = cfg->aws_access_key;
        s3.secret = cfg->aws_secret_key;
        s3.token = cfg->aws_token;
    }
}

static int init(ath_self *self, const void *config, void **state, ath_err *e)
{
    int rc;

    (void)self;
    s3.cfg = config;
    if ((rc = place_read(config, &s3.place_texts, &s3.place, e)) < 0)
        return rc;
    find_keys(config);
    *state = &s3;
    return 0;
}

static void fini(void *state)
{
    (void)state;
    buf_free(&s3.place_texts);
    s3 = (struct s3){ 0 };
}

ATH_PLUGIN("driver-s3", "1.0.0", "", "storage.s3@1",
           .summary = "Objects of an S3 store, for backups", ATH_ARRAY(field, fields),
           .config_size = sizeof(struct s3_config), ATH_ARRAY(metric, metrics), .cap = caps,
           .check = check, .init = init, .loop_init = keys_loop_init, .loop_fini = keys_loop_fini,
           .fini = fini);
