//! What people in a generated world talk about: a harbour, in eight languages.
//!
//! `{ship}`, `{n}` and `{place}` are filled in; a `#` begins a hashtag of the language.

/// The vocabulary of one language.
pub(super) struct Phrases {
    pub headlines: &'static [&'static str],
    pub sentences: &'static [&'static str],
    pub places: &'static [&'static str],
    pub hashtags: &'static [&'static str],
}

pub(super) const SHIPS: [&str; 12] = [
    "Aurora",
    "Северянка",
    "نور البحر",
    "海燕",
    "Esperanza",
    "सागर ज्योति",
    "Kestrel",
    "Полярис",
    "الهدهد",
    "东方之星",
    "Santa Lucía",
    "Möwe",
];

pub(super) const EMOJI: [&str; 10] = ["🚢", "⚓️", "🌊", "🐟", "👨‍👩‍👧", "☀️", "🌧", "🎣", "🇳🇴", "📦"];

pub(super) const ENGLISH: Phrases = Phrases {
    headlines: &["Harbour log", "Weather warning", "Fish market", "Notice to skippers", "Night shift"],
    sentences: &[
        "The {ship} came in at dawn with {n} containers and is unloading at {place}.",
        "Fog over {place}: visibility below {n} metres, the pilot boat waits outside.",
        "Fresh herring today, {n} crowns a kilo until it is gone.",
        "The crane at {place} is being repaired; expect {n} minutes of delay.",
        "Has anyone seen the keys to the {ship}'s engine room?",
        "Tomorrow's ferry leaves {n} minutes earlier because of the tide.",
        "We counted {n} seals on the breakwater near {place} this morning.",
        "Please keep the quay at {place} free for the lifeboat.",
    ],
    places: &["Pier 4", "the old lighthouse", "the north basin", "the fish hall", "the customs quay"],
    hashtags: &["#harbour", "#arrivals", "#weather", "#fishing", "#tide_table"],
};

pub(super) const RUSSIAN: Phrases = Phrases {
    headlines: &["Журнал порта", "Штормовое предупреждение", "Рыбный рынок", "Объявление"],
    sentences: &[
        "Судно «{ship}» пришло на рассвете и разгружает {n} контейнеров, место — {place}.",
        "Туман над гаванью, видимость меньше {n} метров, {place} закрыт.",
        "Сегодня свежая треска, {n} рублей за килограмм, пока не кончится.",
        "Кран ремонтируют, задержка около {n} минут.",
        "Кто-нибудь видел капитана «{ship}»? Его ждёт {place}.",
        "Завтра паром отходит на {n} минут раньше из-за отлива.",
    ],
    places: &["третий причал", "старый маяк", "северный док", "таможенный пирс"],
    hashtags: &["#порт", "#погода", "#рыбалка", "#расписание"],
};

pub(super) const ARABIC: Phrases = Phrases {
    headlines: &["سجل الميناء", "تحذير من الطقس", "سوق السمك"],
    sentences: &[
        "وصلت السفينة {ship} عند الفجر وعلى متنها {n} حاوية، وهي الآن في {place}.",
        "ضباب كثيف فوق {place}، والرؤية أقل من {n} متر.",
        "سمك طازج اليوم بسعر {n} ريال للكيلو حتى نفاد الكمية.",
        "الرافعة قيد الإصلاح، نتوقع تأخيراً لمدة {n} دقيقة.",
        "ستغادر العبّارة غداً قبل موعدها بـ {n} دقيقة بسبب الجزر.",
    ],
    places: &["الرصيف الرابع", "المنارة القديمة", "الحوض الشمالي"],
    hashtags: &["#الميناء", "#الطقس", "#صيد_السمك"],
};

pub(super) const CHINESE: Phrases = Phrases {
    headlines: &["港口日志", "天气预警", "鱼市", "航行通告"],
    sentences: &[
        "“{ship}”号今天清晨进港，载有{n}个集装箱，正在{place}卸货。",
        "{place}有雾，能见度不足{n}米，引航船在外等候。",
        "今天有新鲜的带鱼，每公斤{n}元，售完为止。",
        "{place}的起重机正在维修，预计延误{n}分钟。",
        "因为退潮，明天的渡轮提前{n}分钟开船。",
        "早上在防波堤上看到了{n}只海豹！",
    ],
    places: &["四号码头", "老灯塔", "北港池", "海关码头"],
    hashtags: &["#港口", "#天气", "#钓鱼", "#潮汐表"],
};

pub(super) const SPANISH: Phrases = Phrases {
    headlines: &["Diario del puerto", "Aviso de temporal", "Lonja de pescado"],
    sentences: &[
        "El {ship} llegó al amanecer con {n} contenedores y descarga en {place}.",
        "Niebla en {place}: visibilidad inferior a {n} metros, el práctico espera fuera.",
        "Hoy hay sardina fresca a {n} euros la caja, hasta que se acabe.",
        "La grúa de {place} está en reparación; habrá {n} minutos de retraso.",
        "Mañana el transbordador sale {n} minutos antes por la marea.",
        "¿Alguien ha visto las llaves del {ship}?",
    ],
    places: &["el muelle cuatro", "el faro viejo", "la dársena norte"],
    hashtags: &["#puerto", "#mareas", "#pesca", "#tiempo"],
};

pub(super) const HINDI: Phrases = Phrases {
    headlines: &["बंदरगाह डायरी", "मौसम की चेतावनी", "मछली बाज़ार"],
    sentences: &[
        "जहाज़ {ship} भोर में {n} कंटेनर लेकर पहुँचा और {place} पर माल उतार रहा है।",
        "{place} पर घना कोहरा है, दृश्यता {n} मीटर से कम है।",
        "आज ताज़ी मछली {n} रुपये किलो मिल रही है।",
        "क्रेन की मरम्मत चल रही है, लगभग {n} मिनट की देरी होगी।",
        "कल ज्वार के कारण नौका {n} मिनट पहले चलेगी।",
    ],
    places: &["घाट चार", "पुराना प्रकाशस्तंभ", "उत्तरी गोदी"],
    hashtags: &["#बंदरगाह", "#मौसम", "#मछली"],
};

pub(super) const JAPANESE: Phrases = Phrases {
    headlines: &["港だより", "気象警報", "魚市場"],
    sentences: &[
        "「{ship}」が夜明けに入港し、{place}で{n}個のコンテナを降ろしています。",
        "{place}に霧が出ています。視界は{n}メートル以下です。",
        "今日は新鮮なアジが一箱{n}円です。なくなり次第終了します。",
        "潮の関係で、明日のフェリーは{n}分早く出ます。",
    ],
    places: &["四番埠頭", "古い灯台", "北の船だまり"],
    hashtags: &["#港", "#天気", "#釣り"],
};

pub(super) const GERMAN: Phrases = Phrases {
    headlines: &["Hafentagebuch", "Unwetterwarnung", "Fischmarkt"],
    sentences: &[
        "Die {ship} ist im Morgengrauen mit {n} Containern eingelaufen und löscht an {place}.",
        "Nebel über {place}: Sicht unter {n} Metern, der Lotse wartet draußen.",
        "Heute frische Scholle, {n} Euro die Kiste, solange der Vorrat reicht.",
        "Der Kran wird repariert; rechnet mit {n} Minuten Verspätung.",
        "Die Fähre fährt morgen wegen der Ebbe {n} Minuten früher.",
    ],
    places: &["Pier vier", "dem alten Leuchtturm", "dem Nordbecken"],
    hashtags: &["#hafen", "#wetter", "#gezeiten"],
};
