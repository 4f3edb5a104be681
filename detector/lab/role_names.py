"""The words by which a column is known for what it is, as people write them."""

from __future__ import annotations

TRUE_WORDS = frozenset({"1", "1.0", "true", "yes", "y", "t", "fraud", "fraudulent", "anomaly", "attack", "bad"})
FALSE_WORDS = frozenset(
    {"0", "0.0", "false", "no", "n", "f", "genuine", "legit", "legitimate", "normal", "good", "ok", "valid",
     "not fraud", "non-fraud", "-1"}
)  # fmt: skip

# Names, squeezed to small letters and digits, the surest first. `*` stands for anything.
NAMES: dict[str, tuple[str, ...]] = {
    "label": ("isfraud", "fraud", "txfraud", "fraudlabel", "isanomaly", "anomaly", "class", "label", "target",
              "fraudulent", "isfraudulent", "fraudflag", "isfraud*", "*isfraud", "*fraud"),
    "event_time": ("eventtime", "timestamp", "txdatetime", "transdatetranstime", "transactiondate", "transactiontime",
                   "transactiondatetime", "datetime", "unixtime", "date", "time", "createdat", "occurredat", "ts",
                   "*timestamp", "*datetime", "*date", "*time", "*at"),
    "transaction_id": ("transactionid", "txid", "transid", "transactionnumber", "transnum", "paymentid", "id", "uuid",
                       "transaction*id", "*transactionid", "*reference", "*ref"),
    "card": ("cardid", "cardnumber", "cardno", "ccnum", "ccnumber", "pan", "card", "cardtoken", "card1", "accountid",
             "accountnumber", "accountno", "account", "iban", "nameorig", "*cardid", "*cardnumber", "*accountid"),
    "customer": ("customerid", "custid", "clientid", "userid", "customer", "client", "user", "cardholderid", "memberid",
                 "holderid", "*customerid", "*userid"),
    "merchant": ("merchantid", "merchant", "merchantname", "payeeid", "payee", "shopid", "beneficiaryid", "beneficiary",
                 "namedest", "vendorid", "vendor", "*merchantid"),
    "terminal": ("terminalid", "terminal", "posid", "atmid", "*terminalid"),
    "device": ("deviceid", "device", "devicefingerprint", "deviceinfo", "*deviceid"),
    "ip": ("ip", "ipaddress", "ipaddr", "clientip", "*ipaddress"),
    "country": ("country", "countrycode", "merchantcountry", "location", "city", "region", "state", "place",
                "*country", "*location"),
    "mcc": ("mcc", "merchantcategorycode", "merchantcategory", "category", "categorycode", "productcd"),
    "channel": ("channel", "transactiontype", "entrymode", "paymentmethod", "paymenttype", "type", "usechip",
                "*channel"),
    "currency": ("currency", "currencycode", "ccy", "*currency"),
    "amount": ("amount", "amt", "transactionamount", "transactionamt", "txamount", "paymentamount", "value", "sum",
               "price", "total", "betrag", "montant", "importe", "*amount", "*amt", "*betrag", "amount*",
               "betrag*"),
    "lat": ("merchlat", "merchantlat", "lat", "latitude", "*latitude"),
    "lon": ("merchlong", "merchlon", "merchantlong", "lon", "lng", "long", "longitude", "*longitude"),
}  # fmt: skip
# Words that make a name another thing: the amount of the average, the time of the previous one.
OTHERS = {"average", "avg", "mean", "median", "max", "min", "std", "previous", "prev", "last", "since", "old", "new",
          "birth", "dob", "expiry", "expires", "open", "opened", "day", "days", "hour", "limit", "balance", "count",
          "number", "seconds", "flagged", "frequency", "per", "ratio"}  # fmt: skip
LEAKS = {"fraud", "anomaly", "fraudulent", "flagged", "chargeback", "scenario", "label", "isfraud"}
KINDS: dict[str, tuple[str, ...]] = {
    "event_time": ("time", "number"), "amount": ("number",), "lat": ("number",), "lon": ("number",),
    "country": ("text",), "currency": ("text",), "ip": ("text",), "channel": ("text",),
    "mcc": ("text", "number"), "label": ("number", "boolean", "text"),
}  # fmt: skip
