#include "server/account.h"
void account_request(struct req *r) { (void)r; }
