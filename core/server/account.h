/* core/server/account.h - one event per request. */
#ifndef CORE_SERVER_ACCOUNT_H
#define CORE_SERVER_ACCOUNT_H
#include "http/req.h"
void account_request(struct req *r);
#endif
