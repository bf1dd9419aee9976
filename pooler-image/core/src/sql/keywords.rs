//! PostgreSQL's keywords: what they say of the words around them.

macro_rules! keywords {
    (
        no function: $($name:ident $text:literal)*; and $($no_function:literal)*;
        others: $($other_name:ident $other_text:literal)*; and $($other:literal)*;
    ) => {
        /// What a word without quotes is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
        pub(super) enum Keyword { $($name,)* NoFunction, $($other_name,)* Other, None }

        const ALL: &[(&[u8], Keyword)] = &[
            $(($text, Keyword::$name),)*
            $(($no_function, Keyword::NoFunction),)*
            $(($other_text, Keyword::$other_name),)*
            $(($other, Keyword::Other),)*
        ];
    };
}

// All keywords of PostgreSQL 15 to 18, and some words that newer versions may make keywords. Those that the classifier
// looks at have a name. The first group are the classes "reserved" and "column name", which cannot name a function.
// Three names of the catalog are no keywords, but looked at in the same way.
keywords! {
    no function:
        Bit b"bit" Char b"char" Character b"character" Nchar b"nchar"
        All b"all" Analyse b"analyse" Analyze b"analyze" As b"as" Cast b"cast" Create b"create"
        Default b"default" Distinct b"distinct" Do b"do" End b"end" Exists b"exists" False b"false"
        Fetch b"fetch" Foreign b"foreign" From b"from" Grant b"grant" Group b"group" Grouping b"grouping"
        Interval b"interval" Into b"into" Not b"not" On b"on" Order b"order" Primary b"primary"
        References b"references" Select b"select" Table b"table" Then b"then" Time b"time" To b"to"
        True b"true" Using b"using" Values b"values" With b"with";
    and
        b"and" b"any" b"array" b"asc" b"asymmetric" b"between" b"bigint" b"boolean" b"both" b"case"
        b"check" b"coalesce" b"collate" b"column" b"constraint" b"current_catalog"
        b"current_date" b"current_role" b"current_time" b"current_user" b"dec"
        b"decimal" b"deferrable" b"desc" b"else" b"except" b"extract" b"float" b"for" b"greatest" b"having"
        b"in" b"initially" b"inout" b"int" b"integer" b"intersect" b"json" b"json_array" b"json_arrayagg"
        b"json_exists" b"json_object" b"json_objectagg" b"json_query" b"json_scalar" b"json_serialize"
        b"json_table" b"json_value" b"lateral" b"leading" b"least" b"limit" b"localtime" b"localtimestamp"
        b"merge_action" b"national" b"none" b"normalize" b"null" b"nullif" b"numeric" b"offset"
        b"only" b"or" b"out" b"overlay" b"placing" b"position" b"precision" b"real" b"returning" b"row"
        b"session_user" b"setof" b"smallint" b"some" b"substring" b"symmetric" b"system_user" b"timestamp"
        b"trailing" b"treat" b"trim" b"union" b"unique" b"user" b"varchar" b"variadic" b"when" b"where"
        b"window" b"xmlattributes" b"xmlconcat" b"xmlelement" b"xmlexists" b"xmlforest" b"xmlnamespaces"
        b"xmlparse" b"xmlpi" b"xmlroot" b"xmlserialize" b"xmltable";
    others:
        Varying b"varying"
        Abort b"abort" Aggregate b"aggregate" Also b"also" Alter b"alter" Atomic b"atomic"
        Authorization b"authorization" Begin b"begin" By b"by" Call b"call"
        Characteristics b"characteristics" Checkpoint b"checkpoint" Close b"close" Cluster b"cluster"
        Comment b"comment" Commit b"commit" Conflict b"conflict" Constraints b"constraints"
        Content b"content" Copy b"copy" Cross b"cross" Cube b"cube" Deallocate b"deallocate"
        Declare b"declare" Delete b"delete" Discard b"discard" Document b"document" Drop b"drop"
        Execute b"execute" Explain b"explain" Extension b"extension" First b"first" Full b"full"
        Function b"function" Global b"global" Hash b"hash" Hold b"hold" Ilike b"ilike" Import b"import"
        Index b"index" Inner b"inner" Insert b"insert" Instead b"instead" Join b"join" Key b"key"
        Language b"language" Left b"left" List b"list" Listen b"listen" Load b"load" Local b"local"
        Lock b"lock" Materialized b"materialized" Merge b"merge" Move b"move" Names b"names" Next b"next"
        Notify b"notify" Operator b"operator" Option b"option" Outer b"outer" Partition b"partition"
        PgCatalog b"pg_catalog" PgSettings b"pg_settings" PgTemp b"pg_temp" Policy b"policy" Prepare b"prepare" Prepared b"prepared"
        Procedure b"procedure" Range b"range" Reassign b"reassign" Recursive b"recursive" Refresh b"refresh"
        Reindex b"reindex" Release b"release" Replace b"replace" Reset b"reset" Revoke b"revoke"
        Right b"right" Role b"role" Rollback b"rollback" Rollup b"rollup" Routine b"routine" Rule b"rule"
        Savepoint b"savepoint" Schema b"schema" Security b"security" Session b"session" Set b"set"
        SetConfig b"set_config" Sets b"sets" Show b"show" Start b"start" Stdin b"stdin" Stdout b"stdout"
        Temp b"temp" Temporary b"temporary" Transaction b"transaction" Trigger b"trigger"
        Truncate b"truncate" Type b"type" Uescape b"uescape" Unlisten b"unlisten" Update b"update"
        Vacuum b"vacuum" Verbose b"verbose" View b"view" Work b"work" Xml b"xml" Zone b"zone";
    and
        b"absent" b"absolute" b"access" b"action" b"add" b"admin" b"after" b"always" b"asensitive"
        b"assertion" b"assignment" b"at" b"attach" b"attribute" b"backward" b"before" b"binary" b"breadth"
        b"cache" b"called" b"cascade" b"cascaded" b"catalog" b"chain" b"class" b"collation" b"columns"
        b"comments" b"committed" b"compression" b"concurrently" b"conditional" b"configuration"
        b"connection" b"continue" b"conversion" b"cost" b"csv" b"current" b"current_schema" b"cursor"
        b"cycle" b"data" b"database" b"day" b"defaults" b"deferred" b"definer" b"delimiter" b"delimiters"
        b"depends" b"depth" b"destination" b"detach" b"dictionary" b"disable" b"domain" b"double" b"each"
        b"edge" b"empty" b"enable" b"encoding" b"encrypted" b"enforced" b"enum" b"error" b"escape" b"event"
        b"exclude" b"excluding" b"exclusive" b"expression" b"external" b"family" b"filter" b"finalize"
        b"following" b"force" b"format" b"forward" b"freeze" b"functions" b"generated" b"granted" b"graph"
        b"groups" b"handler" b"header" b"hour" b"identity" b"if" b"ignore" b"immediate" b"immutable"
        b"implicit" b"include" b"including" b"increment" b"indent" b"indexes" b"inherit" b"inherits"
        b"inline" b"input" b"insensitive" b"invoker" b"is" b"isnull" b"isolation" b"keep" b"keys" b"label"
        b"large" b"last" b"leakproof" b"level" b"like" b"location" b"locked" b"logged" b"lsn" b"mapping"
        b"match" b"matched" b"maxvalue" b"method" b"minute" b"minvalue" b"mode" b"month" b"name" b"natural"
        b"nested" b"new" b"nfc" b"nfd" b"nfkc" b"nfkd" b"no" b"node" b"normalized" b"nothing" b"notnull"
        b"nowait" b"nulls" b"object" b"objects" b"of" b"off" b"oids" b"old" b"omit" b"options" b"ordinality"
        b"others" b"over" b"overlaps" b"overriding" b"owned" b"owner" b"parallel" b"parameter" b"parser"
        b"partial" b"partitions" b"passing" b"password" b"path" b"period" b"plan" b"plans" b"preceding"
        b"preserve" b"prior" b"privileges" b"procedural" b"procedures" b"program" b"properties" b"property"
        b"publication" b"quote" b"quotes" b"read" b"recheck" b"ref" b"referencing" b"relationship"
        b"relative" b"rename" b"repack" b"repeatable" b"replica" b"restart" b"restrict" b"return" b"returns"
        b"routines" b"rows" b"scalar" b"schemas" b"scroll" b"search" b"second" b"sequence" b"sequences"
        b"serializable" b"server" b"share" b"similar" b"simple" b"skip" b"snapshot" b"source" b"split"
        b"sql" b"stable" b"standalone" b"statement" b"statistics" b"storage" b"stored" b"strict" b"string"
        b"strip" b"subscription" b"support" b"sysid" b"system" b"tables" b"tablesample" b"tablespace"
        b"target" b"template" b"text" b"ties" b"transform" b"trusted" b"types" b"unbounded" b"uncommitted"
        b"unconditional" b"unencrypted" b"unknown" b"unlogged" b"until" b"valid" b"validate" b"validator"
        b"value" b"version" b"vertex" b"vertices" b"views" b"virtual" b"volatile" b"wait"
        b"whitespace" b"within" b"without" b"wrapper" b"write" b"year" b"yes";
}

/// Longer words than this are looked at apart.
const LONGEST: usize = 16;

/// Four times the keywords, so that a search ends soon.
const SLOTS: usize = 2048;

/// Keywords as numbers, each at the first free slot from its own on; zero ends a search.
static KEYS: [u128; SLOTS] = TABLE.0;
static KEYWORDS: [Keyword; SLOTS] = TABLE.1;

const TABLE: ([u128; SLOTS], [Keyword; SLOTS]) = {
    let (mut keys, mut keywords) = ([0; SLOTS], [Keyword::None; SLOTS]);
    let mut at = 0;
    while at < ALL.len() {
        let key = key(ALL[at].0);
        let mut slot = slot(key);
        while keys[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        keys[slot] = key;
        keywords[slot] = ALL[at].1;
        at += 1;
    }
    (keys, keywords)
};

/// Sets in every byte the bit that makes a capital letter small. Of the bytes of a word no other two become the same.
const SMALL: u128 = u128::from_ne_bytes([0x20; LONGEST]);

/// The bits of the first bytes, by how many these are.
static MASKS: [u128; LONGEST + 1] = {
    let mut masks = [u128::MAX; LONGEST + 1];
    let mut length = 0;
    while length < LONGEST {
        masks[length] = (1 << (8 * length)) - 1;
        length += 1;
    }
    masks
};

/// A word as a number, the same for small and capital letters.
const fn key(word: &[u8]) -> u128 {
    let (mut key, mut at) = (0, word.len());
    while at > 0 {
        at -= 1;
        key = key << 8 | (word[at] | 0x20) as u128;
    }
    key
}

/// Where to look first.
const fn slot(key: u128) -> usize {
    let mixed = (key as u64 ^ ((key >> 64) as u64).rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 53) as usize % SLOTS
}

impl Keyword {
    /// What the word from `start` to `end` of a text is.
    #[inline]
    pub(super) fn of(text: &[u8], start: usize, end: usize) -> Self {
        let length = end - start;
        if length >= MASKS.len() {
            return Self::of_long(text.get(start..end).unwrap_or_default());
        }
        let rest = text.get(start..).unwrap_or_default();
        let key = match rest.first_chunk() {
            Some(chunk) => (u128::from_le_bytes(*chunk) | SMALL) & MASKS.get(length).unwrap_or(&0),
            None => key(rest.get(..length).unwrap_or_default()),
        };
        Self::find(key)
    }

    fn find(key: u128) -> Self {
        let mut slot = slot(key);
        loop {
            let (Some(found), Some(keyword)) = (KEYS.get(slot), KEYWORDS.get(slot)) else {
                return Self::None;
            };
            if *found == key {
                return *keyword;
            }
            if *found == 0 {
                // each session's schema has a number
                let temporary = key as u64 == TEMPORARY;
                return if temporary { Self::PgTemp } else { Self::None };
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    #[cold]
    fn of_long(word: &[u8]) -> Self {
        let time = word.eq_ignore_ascii_case(b"current_timestamp");
        if time { Self::NoFunction } else { Self::None }
    }

    /// Whether it is a keyword at all.
    pub(super) fn is_any(self) -> bool {
        self != Self::None
    }

    /// Whether it is something else than the name of a function where a parenthesis follows.
    pub(super) fn is_no_function(self) -> bool {
        self <= Self::NoFunction
    }
}

/// What a temporary schema's name begins with.
const TEMPORARY: u64 = key(b"pg_temp_") as u64;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(word: &str) -> Keyword {
        let behind = format!("({word}, and what follows)");
        let keyword = Keyword::of(behind.as_bytes(), 1, 1 + word.len());
        assert_eq!(Keyword::of(word.as_bytes(), 0, word.len()), keyword, "{word}, alone and not");
        keyword
    }

    #[test]
    fn every_keyword_is_found() {
        for (word, keyword) in ALL {
            let word = str::from_utf8(word).unwrap();
            assert!(word.len() <= LONGEST, "{word}");
            assert_eq!((of(word), of(&word.to_uppercase())), (*keyword, *keyword), "{word}");
        }
    }

    #[test]
    fn keywords_are_found_in_any_case() {
        assert_eq!(of("SeLeCt"), Keyword::Select);
        assert_eq!(of("characteristics"), Keyword::Characteristics);
        assert_eq!(of("PG_Temp_12"), Keyword::PgTemp);
        for word in ["characteristics_", "alias", "a_very_long_word_indeed", "é", "pg_toast"] {
            assert_eq!(of(word), Keyword::None, "{word}");
        }
    }

    #[test]
    fn a_keyword_says_whether_a_function_may_have_its_name() {
        for (word, any, no_function) in [
            ("coalesce", true, true),
            ("values", true, true),
            ("current_timestamp", true, true),
            ("by", true, false),
            ("left", true, false),
            ("escape", true, false),
            ("lower", false, false),
        ] {
            let keyword = of(word);
            assert_eq!((keyword.is_any(), keyword.is_no_function()), (any, no_function), "{word}");
        }
    }
}
